// Three calls with one HTTP client or the other over a kept-alive connection, then this process's memory to its parent.
// The module is loaded only after the choice: that is what is measured.
import { setTimeout as sleep } from 'node:timers/promises';

const [client, url] = process.argv.slice(2);

const clients = {
  async http() {
    const { Agent, request } = await import('node:http');
    const agent = new Agent({ keepAlive: true });
    return () =>
      new Promise((resolve, reject) => {
        const asked = request(url, { method: 'POST', agent }, (answer) =>
          answer.resume().once('end', resolve),
        );
        asked.once('error', reject).end('{}');
      });
  },
  async undici() {
    const { Agent, request } = await import('undici');
    const dispatcher = new Agent();
    return async () => {
      const { body } = await request(url, { method: 'POST', dispatcher, body: '{}' });
      await body.text();
    };
  },
  async none() {
    return async () => {};
  },
};

const call = await clients[client]();
for (let i = 0; i < 3; i++) await call();
await sleep(300);
process.stdout.write('ready\n');
setInterval(() => {}, 1e9);
