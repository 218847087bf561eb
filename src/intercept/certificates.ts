/**
 * The certificates of one run, with which the gateway speaks TLS to the worker's hooks: an authority that may only vouch for api.telegram.org,
 * and the one certificate that it signs. The authority's private key is dropped after that one signature, so nobody can use it for another
 * host: some runtimes ignore an authority's name constraints (Java), others that a trusted certificate is no authority (Deno).
 * DER by hand (ITU-T X.690, RFC 5280): the smallest library that can do it weighs 300 KB.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export const BOT_API_HOST = 'api.telegram.org';

const DAY_MS = 86_400_000;
/** A worker may run for years, and what it trusts stands in its environment, which can't be renewed. */
const VALID_MS = 3_650 * DAY_MS;

/** `authority`: DER, what the hooks trust. `cert`, `key`: the gateway's, PEM. */
export function makeCertificates(nowMs: number) {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = { name: 'singlepoll (this run only)', ...authority };
  const validity = sequence(time(nowMs - DAY_MS), time(nowMs + VALID_MS));
  const authorityId = keyId(authority.publicKey);
  const own = certificate(issuer, validity, issuer.name, authority.publicKey, [
    extension(OID.basicConstraints, true, sequence(TRUE, integer(Buffer.of(0)))),
    extension(OID.keyUsage, true, Buffer.of(0x03, 2, 2, 0x04)),
    extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth))),
    extension(
      OID.nameConstraints,
      true,
      sequence(
        tagged(0xa0, sequence(tagged(0x82, Buffer.from(BOT_API_HOST)))),
        tagged(0xa1, sequence(tagged(0x87, Buffer.alloc(8))), sequence(tagged(0x87, Buffer.alloc(32)))),
      ),
    ),
    extension(OID.subjectKeyId, false, tagged(0x04, authorityId)),
  ]);
  const served = certificate(issuer, validity, BOT_API_HOST, leaf.publicKey, [
    extension(OID.basicConstraints, true, sequence()),
    extension(OID.keyUsage, true, Buffer.of(0x03, 2, 7, 0x80)),
    extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth))),
    extension(OID.subjectAltName, false, sequence(tagged(0x82, Buffer.from(BOT_API_HOST)))),
    extension(OID.subjectKeyId, false, tagged(0x04, keyId(leaf.publicKey))),
    extension(OID.authorityKeyId, false, sequence(tagged(0x80, authorityId))),
  ]);
  return {
    authority: own,
    cert: toPem(served),
    key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

export function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function certificate(
  issuer: { readonly name: string; readonly privateKey: KeyObject },
  validity: Buffer,
  subject: string,
  key: KeyObject,
  extensions: readonly Buffer[],
): Buffer {
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const serial = Buffer.concat([Buffer.of(0x40), randomBytes(15)]);
  const body = sequence(
    tagged(0xa0, integer(Buffer.of(2))),
    integer(serial),
    algorithm,
    name(issuer.name),
    validity,
    name(subject),
    spki(key),
    tagged(0xa3, sequence(...extensions)),
  );
  const signature = sign('sha256', body, issuer.privateKey);
  return sequence(body, algorithm, tagged(0x03, Buffer.of(0), signature));
}

/** Object identifiers (RFC 5280, RFC 5758), as DER writes them. */
const OID = {
  ecdsaWithSha256: '2a8648ce3d040302',
  commonName: '550403',
  subjectKeyId: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  authorityKeyId: '551d23',
  extendedKeyUsage: '551d25',
  serverAuth: '2b06010505070301',
};

function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  if (body.length < 128) return Buffer.concat([Buffer.of(tag, body.length), body]);
  const length = body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.of(tag, ...length), body]);
}

const sequence = (...parts: readonly Buffer[]) => tagged(0x30, ...parts);
const integer = (bytes: Buffer) => tagged(0x02, bytes);
const TRUE = Buffer.of(0x01, 1, 0xff);

const oid = (hex: string) => tagged(0x06, Buffer.from(hex, 'hex'));

/** GeneralizedTime is for 2050 and later (RFC 5280, section 4.1.2.5). */
function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
  return text < '2050' ? tagged(0x17, Buffer.from(text.slice(2))) : tagged(0x18, Buffer.from(text));
}

function name(commonName: string): Buffer {
  return sequence(tagged(0x31, sequence(oid(OID.commonName), tagged(0x0c, Buffer.from(commonName)))));
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [TRUE] : []), tagged(0x04, value));
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

const keyId = (key: KeyObject): Buffer => createHash('sha1').update(spki(key)).digest();
