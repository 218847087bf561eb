/** What a command line runs, and whether a pattern means it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isInteractiveShell, isSinglepoll } from '../../src/strays/bystander.ts';
import { matchesProgram, readProgram } from '../../src/strays/program.ts';

for (const [command, scripts] of [
  ['python3 bot.py', ['bot.py']],
  ['/usr/bin/python3.11 -u ./bot.py --x', ['./bot.py']],
  ['python -W ignore -X dev bot.py', ['bot.py']],
  ['python -Wignore -Xdev -uB bot.py', ['bot.py']],
  ['python -m bots.poller', ['bots.poller']],
  ['python -um gunicorn app:app', ['gunicorn']],
  ['python -c import_bot bot.py', []],
  ['python -Ic x bot.py', []],
  ['python - bot.py', []],
  ['python', []],
  ['/usr/bin/python3 /usr/bin/gunicorn app:app --workers=1', ['/usr/bin/gunicorn']],
  ['node bot.js', ['bot.js']],
  ['node --enable-source-maps -r dotenv/config --import tsx bot.js', ['bot.js']],
  ['node --max-old-space-size=100 -- bot.js', ['bot.js']],
  ['node -e code bot.js', []],
  ['node /srv/.bin/tsx watch --clear-screen=false src/bot.ts', ['/srv/.bin/tsx', 'src/bot.ts']],
  ['node /usr/bin/nodemon --ext ts bot.js', ['/usr/bin/nodemon', 'bot.js']],
  ['tsx src/bot.ts', ['src/bot.ts']],
  ['deno run -A --config deno.json bot.ts', ['bot.ts']],
  ['bun run bot.ts', ['bot.ts']],
  ['bun --watch bot.ts', ['bot.ts']],
  ['ruby -I lib bot.rb', ['bot.rb']],
  ['perl -Mstrict bot.pl', ['bot.pl']],
  ['php -d memory_limit=1 -f bot.php', ['bot.php']],
  ['java -Xmx1g -cp lib/* -jar bot.jar', ['bot.jar']],
  ['uv run --with requests bot.py', ['bot.py']],
  ['uv run python bot.py', ['python', 'bot.py']],
  ['poetry run python -m bot', ['python', 'bot']],
  ['tail -f bot.py', []],
  ['bash bot.sh', []],
  ['gunicorn app:app', []],
] as const) {
  test(`scripts of: ${command}`, () => assert.deepEqual(readProgram(command.split(' ')).scripts, scripts));
}

test('the program: login shells, titles, paths with folders', () => {
  assert.equal(readProgram(['-bash']).name, 'bash');
  assert.equal(readProgram(['gunicorn: master [app:app]']).name, 'gunicorn');
  assert.equal(readProgram(['npm start']).name, 'npm');
  assert.equal(readProgram(['/opt/my bot/run']).name, 'run');
  assert.equal(readProgram([], 'kthread').name, 'kthread');
});

for (const [command, cwd, pattern, matches] of [
  ['python3 production_polling_bot.py', '/srv/bot', /production_polling_bot\.py/, true],
  ['python3 bots/production_polling_bot.py', '/srv/bot', /^production_polling_bot\.py$/, true],
  ['python3 ./bot.py', '/srv/legacy', /legacy\/bot\.py/, true],
  ['python3 /srv/legacy/bot.py', '/', /legacy\/bot\.py/, true],
  ['python3 -m production_polling_bot', '/srv/bot', /production_polling_bot\.py/, true],
  ['python3 -m bots.main', '/srv/bot', /bots\/main\.py/, true],
  ['python3 /srv/gunicorn-test/bot.py', '/srv/gunicorn-test', /gunicorn/, false],
  ['python3 bot.py', '/srv/gunicorn', /gunicorn/, false],
  ['/srv/gunicorn-venv/bin/python bot.py', '/srv', /gunicorn/, false],
  ['/srv/venv/bin/python /srv/venv/bin/gunicorn app:app', '/srv', /gunicorn/, true],
  ['gunicorn: worker [app:app]', '/srv', /gunicorn/, true],
  ['tail -f production_polling_bot.log', '/srv/bot', /production_polling_bot/, false],
  ['python3 -c x production_polling_bot.py', '/srv/bot', /production_polling_bot/, false],
  ['python3 check.py production_polling_bot.py', '/srv/bot', /production_polling_bot/, false],
  ['node index.js --require gunicorn', '/srv/bot', /gunicorn/, false],
] as const) {
  test(`${pattern} ${matches ? 'matches' : 'leaves'} ${command}`, () => {
    const argv = command.startsWith('gunicorn:') ? [command] : command.split(' ');
    assert.equal(matchesProgram(readProgram(argv), cwd, pattern), matches);
  });
}

test('a global pattern matches the same twice', () => {
  const program = readProgram(['python3', 'bot.py']);
  const pattern = /bot/g;
  assert.equal(matchesProgram(program, '/', pattern), true);
  assert.equal(matchesProgram(program, '/', pattern), true);
});

test('singlepoll: not every program with that word in it', () => {
  assert.equal(isSinglepoll(readProgram(['python3', 'singlepoll_bot.py'])), false);
  assert.equal(isSinglepoll(readProgram(['node', '/srv/singlepoll/bot.js'])), false);
});

for (const [command, interactive] of [
  ['bash', true],
  ['-sh', true],
  ['bash -i', true],
  ['bash -l', true],
  ['bash --norc', true],
  ['bash --rcfile x', true],
  ['bash -il', true],
  ['sh -c x', false],
  ['bash -lc x', false],
  ['bash -e run.sh', false],
  ['bash -o pipefail run.sh', false],
  ['bash -euo pipefail run.sh', false],
  ['sh ./run.sh -i', false],
  ['busybox sh', true],
  ['busybox sh run.sh', false],
] as const) {
  test(`${command} is ${interactive ? '' : 'not '}interactive`, () =>
    assert.equal(isInteractiveShell(command.split(' ')), interactive));
}
