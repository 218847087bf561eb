/** What doctor finds: in twenty-two projects as they are out there, and rule by rule beside the nearest thing that it must leave alone. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { studyProject } from '../../src/doctor/processes.ts';
import { findCauses } from '../../src/doctor/rules.ts';
import { randomToken } from '../support/bed.ts';
import { asProject, carried, projectNames, projectOf } from '../support/project.ts';

describe('projects', () => {
  test('at least twenty, half of them healthy', () => {
    const projects = projectNames().map(carried);
    const healthy = projects.filter((project) => project.healthy).length;
    assert.ok(
      projects.length >= 20 && healthy * 2 >= projects.length,
      `${healthy} of ${projects.length} are healthy`,
    );
  });
  for (const name of projectNames()) {
    test(name, () => {
      const project = carried(name);
      assert.ok(project.healthy !== project.expected.length > 0, 'it says what to expect');
      const found = findCauses(studyProject(asProject(project.files)));
      const shown = (note: boolean) =>
        found
          .filter((finding) => (finding.note ?? false) === note)
          .map(({ rule, file, line }) => `${rule} ${file}:${line}`)
          .sort();
      const told = JSON.stringify(found, null, 1);
      assert.deepEqual(shown(false), project.expected, told);
      assert.deepEqual(shown(true), project.notes, told);
      for (const { why, cure } of found)
        assert.ok(why.length > 20 && cure.length > 3 && !/\n|undefined|\{\w+\}/.test(why), told);
      for (const token of project.tokens) assert.ok(!told.includes(token.split(':')[1]!), 'no token is told');
    });
  }
});

type Files = Record<string, string>;

const BOT_PY = 'import os, telebot\nbot = telebot.TeleBot(os.environ["BOT_TOKEN"])\nbot.infinity_polling()\n';
const BOT_JS =
  "const { Bot } = require('grammy');\nconst bot = new Bot(process.env.BOT_TOKEN);\nbot.start();\n";
const APP_PY =
  'import threading\nfrom flask import Flask\nfrom poller import poll\napp = Flask(__name__)\nthreading.Thread(target=poll).start()\n';
const POLLER_PY = 'import telebot\ndef poll():\n    telebot.TeleBot("x").infinity_polling()\n';
const WEB: Files = { 'app.py': APP_PY, 'poller.py': POLLER_PY };
const TOKEN = randomToken();
const deployment = (spec: string) =>
  `apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: my-bot\nspec:\n${spec}  template:\n    spec:\n      containers:\n        - name: main\n          image: me/it\n`;

interface Case {
  rule: string;
  files: Files;
  /** `FILE:LINE`, or null: nothing of this rule. */
  at: string | null;
  note?: boolean;
}

const CASES: Record<string, Case> = {
  'gunicorn -w4': {
    rule: 'server-workers',
    files: { ...WEB, Procfile: 'web: gunicorn -w4 app:app\n' },
    at: 'Procfile:1',
  },
  'gunicorn -w 1': {
    rule: 'server-workers',
    files: { ...WEB, Procfile: 'web: gunicorn -w 1 app:app\n' },
    at: null,
  },
  'gunicorn, workers in its configuration': {
    rule: 'server-workers',
    files: {
      ...WEB,
      Procfile: 'web: gunicorn app:app\n',
      'gunicorn.conf.py': 'bind = ":80"\nworkers = cpu_count() * 2\n',
    },
    at: 'gunicorn.conf.py:2',
  },
  'gunicorn, WEB_CONCURRENCY': {
    rule: 'server-workers',
    files: { ...WEB, Procfile: 'web: gunicorn app:app\n', '.env': 'WEB_CONCURRENCY=3\n' },
    at: '.env:1',
  },
  'gunicorn --preload: the thread lives in the master': {
    rule: 'server-workers',
    files: { ...WEB, Procfile: 'web: gunicorn --preload -w 4 app:app\n' },
    at: null,
  },
  'gunicorn of an app that does not start the polling': {
    rule: 'server-workers',
    files: {
      'app.py': 'from poller import poll\napp = 1\n',
      'poller.py': POLLER_PY,
      Procfile: 'web: gunicorn -w 4 app:app\n',
    },
    at: null,
  },
  'an app with a lock of its own': {
    rule: 'server-workers',
    files: {
      'app.py': APP_PY,
      'poller.py': `import fcntl\nfcntl.flock(open("l"), fcntl.LOCK_EX)\n${POLLER_PY}`,
      Procfile: 'web: gunicorn -w 4 app:app\n',
    },
    at: null,
  },
  'gunicorn through npm, a shell script and singlepoll': {
    rule: 'server-workers',
    files: {
      ...WEB,
      'package.json': '{"scripts": {"start": "sh run.sh"}}',
      'run.sh': '#!/bin/sh\nexec singlepoll start -- python3 -m gunicorn \\\n  app:app --workers=2\n',
    },
    at: 'package.json:1',
  },
  'hypercorn in a Dockerfile, over two lines': {
    rule: 'server-workers',
    files: { ...WEB, Dockerfile: 'FROM x\nRUN a \\\n  b\nCMD hypercorn app:app \\\n  --workers 2\n' },
    at: 'Dockerfile:4',
  },
  'a reload for production': {
    rule: 'reloader',
    files: { ...WEB, Procfile: 'web: uvicorn app:app --reload\n' },
    at: 'Procfile:1',
  },
  'a reload for development': {
    rule: 'reloader',
    files: { ...WEB, 'Procfile.dev': 'web: uvicorn app:app --reload\n' },
    at: 'Procfile.dev:1',
    note: true,
  },
  FLASK_DEBUG: {
    rule: 'reloader',
    files: { ...WEB, Dockerfile: 'FROM x\nENV FLASK_DEBUG=1\nCMD ["flask", "run"]\n' },
    at: 'Dockerfile:2',
  },
  'Flask’s debug, without its reloader': {
    rule: 'reloader',
    files: { ...WEB, 'app.py': `${APP_PY}app.run(debug=True, use_reloader=False)\n` },
    at: null,
  },
  'Django’s runserver': {
    rule: 'reloader',
    files: {
      'bots/apps.py':
        'from .poller import poll\nclass BotsConfig(AppConfig):\n    def ready(self):\n        poll()\n',
      'bots/poller.py': POLLER_PY,
      'manage.py': 'import sys\n',
      Procfile: 'web: python manage.py runserver 0.0.0.0:80\n',
    },
    at: 'Procfile:1',
  },
  'node --watch in compose': {
    rule: 'watcher',
    files: { 'bot.js': BOT_JS, 'compose.yml': 'services:\n  bot:\n    command: node --watch bot.js\n' },
    at: 'compose.yml:2',
  },
  'a watcher of the tests': {
    rule: 'watcher',
    files: {
      'bot.js': BOT_JS,
      'package.json': '{"scripts":{"start":"node bot.js","tdd":"nodemon --exec jest"}}',
    },
    at: null,
  },
  'pm2 -i on the command line': {
    rule: 'pm2-instances',
    files: { 'bot.js': BOT_JS, Dockerfile: 'FROM x\nCMD ["pm2-runtime", "start", "bot.js", "-i", "max"]\n' },
    at: 'Dockerfile:2',
  },
  'pm2, YAML': {
    rule: 'pm2-instances',
    files: { 'bot.js': BOT_JS, 'ecosystem.yml': 'apps:\n  - script: bot.js\n    instances: 2\n' },
    at: 'ecosystem.yml:3',
  },
  'pm2, cluster mode of one': {
    rule: 'pm2-instances',
    files: {
      'bot.js': BOT_JS,
      'ecosystem.config.js':
        "module.exports = { apps: [{\n  script: 'bot.js',\n  exec_mode: 'cluster',\n}] };\n",
    },
    at: 'ecosystem.config.js:3',
  },
  'pm2, what is built from a source that polls': {
    rule: 'pm2-instances',
    files: {
      'src/bot.ts':
        "import { Bot } from 'grammy';\nnew Bot('').start();\nconst bot = new Bot('');\nbot.start();\n",
      'ecosystem.config.js': "module.exports = { apps: [{ script: 'dist/bot.js', instances: 2 }] };\n",
    },
    at: 'ecosystem.config.js:1',
  },
  'supervisord numprocs': {
    rule: 'supervisord-numprocs',
    files: {
      'bot.py': BOT_PY,
      'supervisor.conf': '[program:a]\ncommand=python bot.py\nnumprocs=2\n[program:b]\ncommand=true\n',
    },
    at: 'supervisor.conf:3',
  },
  'two services of a compose file with one bot': {
    rule: 'two-pollers',
    files: {
      'bot.py': BOT_PY,
      'compose.yml': 'services:\n  a:\n    command: python bot.py\n  b:\n    command: python bot.py\n',
    },
    at: 'compose.yml:4',
  },
  'two services of a compose file with two bots': {
    rule: 'two-pollers',
    files: {
      'bot.py': BOT_PY,
      'compose.yml':
        'services:\n  a:\n    command: python bot.py\n    env_file: a.env\n  b:\n    command: python bot.py\n    env_file: b.env\n',
    },
    at: null,
  },
  'cron each hour': {
    rule: 'cron-starts',
    files: { 'bot.py': BOT_PY, crontab: '0 * * * * python bot.py\n' },
    at: 'crontab:1',
  },
  'cron at boot, and under flock': {
    rule: 'cron-starts',
    files: { 'bot.py': BOT_PY, crontab: '@reboot python bot.py\n* * * * * flock -n /tmp/l python bot.py\n' },
    at: null,
  },
  'a workflow with a concurrency group': {
    rule: 'cron-starts',
    files: {
      'bot.py': BOT_PY,
      '.github/workflows/run.yml': 'concurrency: bot\njobs:\n  a:\n    steps:\n      - run: python bot.py\n',
    },
    at: null,
  },
  'compose scale': {
    rule: 'compose-replicas',
    files: { 'bot.py': BOT_PY, 'compose.yml': 'services:\n  a:\n    command: python bot.py\n    scale: 2\n' },
    at: 'compose.yml:4',
  },
  'compose, replicas by a variable’s default, merged from an anchor': {
    rule: 'compose-replicas',
    files: {
      'bot.py': BOT_PY,
      'compose.yml':
        'x-a: &a\n  deploy: {replicas: "\u0024{N:-3}"}\nservices:\n  a:\n    <<: *a\n    command: python bot.py\n',
    },
    at: 'compose.yml:4',
  },
  'compose with a lease': {
    rule: 'compose-replicas',
    files: {
      'bot.py': BOT_PY,
      'compose.yml':
        'services:\n  a:\n    command: singlepoll start --lease env:R -- python bot.py\n    scale: 2\n',
    },
    at: null,
  },
  'Kubernetes, no strategy': {
    rule: 'kubernetes-copies',
    files: { 'k.yaml': deployment('  replicas: 1\n') },
    at: 'k.yaml:5',
  },
  'Kubernetes, Recreate': {
    rule: 'kubernetes-copies',
    files: { 'k.yaml': deployment('  replicas: 1\n  strategy: {type: Recreate}\n') },
    at: null,
  },
  'Kubernetes, a DaemonSet': {
    rule: 'kubernetes-copies',
    files: { 'k.yaml': deployment('').replace('Deployment', 'DaemonSet') },
    at: 'k.yaml:2',
  },
  'Kubernetes, a site of another name': {
    rule: 'kubernetes-copies',
    files: { 'bot.py': BOT_PY, 'k.yaml': deployment('  replicas: 3\n').replace('my-bot', 'site') },
    at: null,
  },
  'Helm values': {
    rule: 'kubernetes-copies',
    files: {
      'chart/Chart.yaml': 'name: my-bot\n',
      'chart/values.yaml': 'replicaCount: 2\n',
      'chart/templates/d.yaml': 'a: {{ .Values.a }}\n',
    },
    at: 'chart/values.yaml:1',
  },
  'fly.toml without a count': {
    rule: 'fly-count',
    files: { 'bot.py': BOT_PY, 'fly.toml': 'app = "x"\n[processes]\nmain = "python bot.py"\n' },
    at: 'fly.toml:3',
  },
  'fly.toml with a count beside it': {
    rule: 'fly-count',
    files: {
      'bot.py': BOT_PY,
      'fly.toml': 'app = "x"\n# fly scale count 1\n[processes]\nmain = "python bot.py"\n',
    },
    at: null,
  },
  'App Engine with one instance': {
    rule: 'autoscaled',
    files: { 'main.py': BOT_PY, 'app.yaml': 'runtime: python312\nmanual_scaling: {instances: 1}\n' },
    at: null,
  },
  'App Engine': {
    rule: 'autoscaled',
    files: { 'main.py': BOT_PY, 'app.yaml': 'runtime: python312\n' },
    at: 'app.yaml:1',
  },
  Railway: {
    rule: 'autoscaled',
    files: {
      'bot.py': BOT_PY,
      'railway.json': '{"deploy": {\n"startCommand": "python bot.py",\n"numReplicas": 2}}',
    },
    at: 'railway.json:3',
  },
  Heroku: {
    rule: 'autoscaled',
    files: {
      'bot.py': BOT_PY,
      Procfile: 'worker: python bot.py\n',
      'app.json': '{"formation": {"worker": {"quantity": 2}}}',
    },
    at: 'app.json:1',
  },
  DigitalOcean: {
    rule: 'autoscaled',
    files: {
      'bot.py': BOT_PY,
      '.do/app.yaml': 'workers:\n  - name: w\n    run_command: python bot.py\n    instance_count: 2\n',
    },
    at: '.do/app.yaml:4',
  },
  'kubectl scale': {
    rule: 'scale-command',
    files: { 'bot.py': BOT_PY, 'up.sh': 'kubectl scale deployment/my-bot --replicas=2\n' },
    at: 'up.sh:1',
  },
  setWebhook: {
    rule: 'sets-webhook',
    files: { 'bot.js': `${BOT_JS}bot.api.setWebhook('https://x.example');\n` },
    at: 'bot.js:4',
  },
  'setWebhook in a comment, an empty one, one by choice': {
    rule: 'sets-webhook',
    files: {
      'bot.js': `// bot.api.setWebhook('x')\n${BOT_JS}bot.api.setWebhook('');\nif (process.env.MODE === 'hook') {\n  bot.api.setWebhook('https://x.example');\n}\n`,
    },
    at: null,
  },
  'setWebhook as a word, and in what a compiler made': {
    rule: 'sets-webhook',
    files: {
      'bot.js': `${BOT_JS}const METHODS = ['getMe', 'setWebhook'];\n`,
      'dist/bot.js': "bot.api.setWebhook('https://x.example');\n",
    },
    at: null,
  },
  'setWebhook as it is declared: an interface, a class, a function, Go': {
    rule: 'sets-webhook',
    files: {
      'bot.js': BOT_JS,
      'api.ts':
        'interface Api {\n  setWebhook(url: string): Promise<void>;\n}\nclass B implements Api {\n  async setWebhook(url: string) {\n  }\n}\ntype C = { setWebhook(url: string): void };\nexport function setWebhook(url: string): void {}\n',
      'api.go':
        'type Api interface {\n\tSetWebhook(c Config) error\n}\nfunc (b *Bot) SetWebhook(c Config) error {\n}\n',
    },
    at: null,
  },
  'setWebhook called inside a class': {
    rule: 'sets-webhook',
    files: {
      'bot.js': BOT_JS,
      'api.ts': 'class B {\n  go() {\n    return this.setWebhook("https://x.example");\n  }\n}\n',
    },
    at: 'api.ts:3',
  },
  'setWebhook as the method of a call': {
    rule: 'sets-webhook',
    files: { 'bot.js': `${BOT_JS}api.post('setWebhook', { url });\n` },
    at: 'bot.js:4',
  },
  'set_webhook in a function that a setting chooses': {
    rule: 'sets-webhook',
    files: {
      'bot.py': `${BOT_PY}def hook():\n    bot.set_webhook("https://x.example")\nif USE_WEBHOOK:\n    hook()\n`,
    },
    at: null,
  },
  skip_pending: {
    rule: 'drops-pending',
    files: { 'bot.py': BOT_PY.replace('polling()', 'polling(skip_pending=True)') },
    at: 'bot.py:3',
  },
  'drop_pending_updates, off': {
    rule: 'drops-pending',
    files: { 'bot.py': BOT_PY.replace('polling()', 'polling(drop_pending_updates=False)') },
    at: null,
  },
  'a negative offset': {
    rule: 'negative-offset',
    files: { 'bot.py': 'updates = bot.get_updates(\n    offset=-1,\n)\n' },
    at: 'bot.py:2',
  },
  'a negative offset of something else': {
    rule: 'negative-offset',
    files: { 'bot.py': `${BOT_PY}\n\n\n\n\n\nimage.move(offset=-1)\n` },
    at: null,
  },
  'curl getUpdates': {
    rule: 'script-polls',
    files: { Makefile: 'check:\n\tcurl -s https://api.telegram.org/bot$(T)/getUpdates\n' },
    at: 'Makefile:2',
  },
  'curl getMe': {
    rule: 'script-polls',
    files: { 'a.sh': 'curl https://api.telegram.org/bot$T/getMe # not getUpdates\n' },
    at: null,
  },
  'one token in two env files': {
    rule: 'two-env-files',
    files: { '.env': `BOT_TOKEN=${TOKEN}\n`, 'deploy/prod.env': `A=1\nTG="${TOKEN}"\n` },
    at: 'deploy/prod.env:2',
  },
  'two tokens in two env files': {
    rule: 'two-env-files',
    files: { '.env': `BOT_TOKEN=${TOKEN}\n`, '.env.production': `BOT_TOKEN=${randomToken()}\n` },
    at: null,
  },
  'a token in an example': {
    rule: 'token-in-file',
    files: { '.env.example': `BOT_TOKEN=${TOKEN}\n` },
    at: '.env.example:1',
  },
  'placeholders are no tokens': {
    rule: 'token-in-file',
    files: {
      '.env.example':
        'BOT_TOKEN=123456789:ABCdefGHIjklMNOpqrSTUvwxYZ123456789\nB=123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11\n',
      'bot.py': 'TOKEN = "1234567890:your_bot_token_from_botfather_here_1"\n',
      'README.md': TOKEN,
    },
    at: null,
  },
  'a token in a log': {
    rule: 'token-in-log',
    files: { 'nohup.out': `a\nGET https://api.telegram.org/bot${TOKEN}/getMe\n` },
    at: 'nohup.out:2',
  },
  'a masked token in a log': {
    rule: 'token-in-log',
    files: { 'bot.log': `bot ${TOKEN.split(':')[0]}:…\n` },
    at: null,
  },
};

describe('rules', () => {
  for (const [name, { rule, files, at, note = false }] of Object.entries(CASES)) {
    test(`${rule}: ${name}`, () => {
      // What a rule is blind to by its nature must not come from reading past it: README.md is never read.
      const { 'README.md': _, ...read } = files;
      const all = findCauses(studyProject(projectOf(read)));
      const found = all.filter((finding) => finding.rule === rule);
      const told = JSON.stringify(all, null, 1);
      assert.deepEqual(
        found.map(({ file, line }) => `${file}:${line}`),
        at === null ? [] : [at],
        told,
      );
      assert.equal(found[0]?.note ?? false, note, told);
      assert.ok(!told.includes(TOKEN.split(':')[1]!));
    });
  }
});
