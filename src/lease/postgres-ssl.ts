/** libpq's words for encryption: https://www.postgresql.org/docs/current/libpq-ssl.html */
import type { ConnectionOptions } from 'node:tls';
import { LeaseConfigError } from './store.ts';
import { type LeaseUrl, readNamedFile } from './url.ts';

/** `no-verify` is another client's word for what libpq calls require. */
const MODES = ['disable', 'allow', 'prefer', 'require', 'no-verify', 'verify-ca', 'verify-full'];

/** prefer where the URL does not say, as psql does. */
export function sslModeOf({ options, shown }: LeaseUrl): string {
  const mode = options.get('sslmode') ?? 'prefer';
  if (MODES.includes(mode)) return mode;
  throw new LeaseConfigError(
    `the lease URL ${shown}: no sslmode is called ${mode}; there are ${MODES.join(', ')}`,
  );
}

/** A certificate is checked where an authority is named, or where the mode says verify. Reads the files that are named. */
export function sslOf({ options, shown }: LeaseUrl, mode: string): ConnectionOptions {
  const file = (option: string): string | undefined => {
    const path = options.get(option);
    if (path === null || path === 'system') return undefined;
    return readNamedFile(path, `${option} of the lease URL ${shown}`);
  };
  const [ca, cert, key] = [file('sslrootcert'), file('sslcert'), file('sslkey')];
  return {
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(!ca && !mode.startsWith('verify') && { rejectUnauthorized: false }),
    ...(mode !== 'verify-full' && { checkServerIdentity: () => undefined }),
  };
}
