// Old and odd: hidden processes, umasks, no passwd entry and no HOME, su, sudo and a bare environment, connections and terminals that are cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addUser, bootGuest } from '../support/guest.ts';
import { pack } from '../support/packed.ts';
import { newFolder } from '../support/place.ts';
import { until } from '../support/wait.ts';

const folder = newFolder();
const { path: TARBALL } = pack(folder);
const BOT = 'node /opt/workers/polite.mjs';

test('odd ways to start it: each polls, is found from everywhere, and leaves nothing', async (t) => {
  const guest = await bootGuest(t, TARBALL);
  const { run, tries, login } = guest;
  await addUser(guest, 'ann');
  const isGone = async () => (await tries(`pgrep -fx '${BOT}'`)).code === 1;
  const gone = (what: string) => until(`the worker to be gone: ${what}`, isGone);
  const starts = `singlepoll start -d -- ${BOT}`;

  await t.test('umask 000, 077 and 777: what it writes is nobody else’s business', async () => {
    for (const mask of ['000', '077', '777']) {
      await run(`rm -rf ~ann/.local; su - ann -c 'umask ${mask}; ${starts}'`);
      const open = await run('find ~ann/.local/state/singlepoll -perm /077');
      assert.equal(open, '', mask);
      await run(`su - ann -c 'umask ${mask}; singlepoll status && singlepoll logs && singlepoll stop'`);
      await gone(mask);
    }
  });

  await t.test('su -, sudo -u, ssh and an empty environment see the same supervisor', async () => {
    await run(`su - ann -c '${starts}'`);
    const status = 'cd ~ann && singlepoll status';
    const bare = 'env -i PATH=/usr/local/bin:/usr/bin:/bin';
    for (const way of [
      `sudo -u ann sh -c '${status}'`,
      `setpriv --reuid ann --regid ann --init-groups ${bare} sh -c '${status}'`,
      `sudo -u ann ${bare} HOME=/nonexistent XDG_STATE_HOME=/x sh -c 'cd /home/ann && singlepoll status'`,
    ])
      assert.match(await run(way), /: polling/, way);
    assert.match((await login('ann', 'singlepoll stop')).text, /^stopped: /);
    await gone('stopped by ssh');
  });

  await t.test('no passwd entry, no HOME', async () => {
    const nobody =
      'cd / && setpriv --reuid 12345 --regid 12345 --clear-groups env -i PATH=/usr/local/bin:/usr/bin:/bin';
    const bot = '$(tr "\\n" " " < /srv/bot/.env)';
    await run(`${nobody} ${bot} ${starts}`);
    assert.match(await run(`${nobody} ${bot} singlepoll status`), /: polling/);
    assert.match(await run(`${nobody} ${bot} singlepoll stop`), /^stopped: /);
    await gone('no passwd entry');
  });

  await t.test('hidepid=2: it polls, and says what it can’t see', async () => {
    await run('mount -o remount,hidepid=2 /proc');
    await run(`su - ann -c '${starts}'`);
    assert.match((await tries(`su - ann -c 'singlepoll doctor'`)).text, /hidepid/);
    assert.match(await run(`su - ann -c 'singlepoll who; singlepoll stop'`), /^stopped: /m);
    await run('mount -o remount,hidepid=0 /proc');
    await gone('hidepid');
  });

  await t.test('a connection that is cut, and a tmux or screen that is killed, take it along', async () => {
    const polls = () => guest.b.sandbox.polls().length;
    for (const [what, start, cut] of [
      [
        'ssh',
        `ssh -tt -o StrictHostKeyChecking=no ann@127.0.0.1 'singlepoll start -- ${BOT}' </dev/zero >/dev/null 2>&1 &`,
        "pkill -9 -f '^sshd: ann'",
      ],
      ['tmux', `su - ann -c "tmux new-session -d 'singlepoll start -- ${BOT}'"`, 'pkill -9 tmux'],
      ['screen', `su - ann -c 'screen -dm singlepoll start -- ${BOT}'`, "pkill -9 -xi 'screen'"],
    ] as const) {
      const before = polls();
      await run(`${start}\ntrue`);
      await until(`it to poll in ${what}`, () => polls() > before);
      await until('its worker', async () => !(await isGone()));
      await run(cut);
      await gone(what);
      await until('no supervisor', async () => (await tries('pgrep -f "singlepoll.js start"')).code === 1);
    }
  });
});
