/** undici's inner modules: loaded one by one, because the whole package costs an idle supervisor some 10 MB. */
declare module 'undici/lib/dispatcher/client.js' {
  import { Client } from 'undici';
  export default Client;
}
declare module 'undici/lib/dispatcher/env-http-proxy-agent.js' {
  import { EnvHttpProxyAgent } from 'undici';
  export default EnvHttpProxyAgent;
}
declare module 'undici/lib/api/index.js' {
  import type { Client } from 'undici';

  const api: { request: Client['request'] };
  export default api;
}
