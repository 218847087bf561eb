/** What the errors of PostgreSQL mean. https://www.postgresql.org/docs/current/errcodes-appendix.html */
import type { DatabaseError } from 'pg';
import { LeaseConfigError, LeaseIoError } from './store.ts';
import { placeOf, socketTrouble } from './trouble.ts';
import type { LeaseUrl } from './url.ts';

export const TABLE = 'CREATE TABLE IF NOT EXISTS singlepoll_lease (name text PRIMARY KEY, rec text NOT NULL)';

/** The session goes on. */
export function isAnswer(error: unknown): boolean {
  return (
    LeaseIoError.is(error) ||
    LeaseConfigError.is(error) ||
    (error as Partial<DatabaseError>).severity === 'ERROR'
  );
}

/** `sent`: a write was under way. */
export function postgresTrouble(
  url: LeaseUrl,
  user: string,
  error: Partial<DatabaseError> & Error,
  sent: boolean,
): LeaseIoError | LeaseConfigError {
  if (LeaseIoError.is(error) || LeaseConfigError.is(error)) return error as LeaseIoError;
  const { code = '' as string, message, severity } = error as Partial<DatabaseError> & Error;
  const text = `${url.scheme} lease at ${placeOf(url)}: ${url.hide(message)}`;
  if (/^(?:28|3D)/.test(code) || /password must be/.test(message))
    return new LeaseConfigError(`${text}; check the URL: ${url.scheme}://user:password@host/database`);
  if (code === '42501' || code === '3F000')
    return new LeaseConfigError(
      `${text}; let the database's owner run: ${TABLE}; GRANT SELECT, INSERT, UPDATE ON singlepoll_lease TO "${user}"`,
    );
  if (code === '25006')
    return new LeaseIoError(`${text}; it is a read-only replica: name the primary in the URL`, false);
  if (/^42/.test(code)) return new LeaseConfigError(`${text} (table singlepoll_lease)`);
  if (/not support SSL/.test(message)) return new LeaseConfigError(`${text}; sslmode=disable goes without`);
  // An error ends the transaction; two codes alone say that nobody knows how. After FATAL nobody knows either.
  if (severity === 'ERROR') return new LeaseIoError(text, sent && (code === '40003' || code === '08007'));
  if (severity) return new LeaseIoError(text, sent);
  return socketTrouble(url, error, sent, '?sslmode=require');
}
