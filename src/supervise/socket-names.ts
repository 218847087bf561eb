/** Names of control sockets in the folder of a bot: one of the polling supervisor, one of each in deploy mode. */
export const CONTROL_SOCKET = 'control.sock';

const DEPLOY = /^deploy-\d+\.sock$/;

export function deploySocket(pid: number): string {
  return `deploy-${pid}.sock`;
}

export function isDeploySocket(name: string): boolean {
  return DEPLOY.test(name);
}
