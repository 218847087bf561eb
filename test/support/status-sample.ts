// A whole status document for the renderers' tests: everything filled in, changed part by part.
import type { LeaseEntry, StatusDocument, StrayEntry } from '../../src/supervisor/status.ts';

export const SAMPLE_NOW_MS = Date.parse('2026-11-21T12:00:00Z');

export const sampleLease: LeaseEntry = {
  engine: 'redis',
  holder: 'box-a:4711',
  mine: true,
  epoch: 7,
  expiresAt: '2026-11-21T12:00:12.500Z',
  role: 'holder',
  since: '2026-11-21T11:00:00Z',
  decision: { what: 'stop', at: '2026-11-21T12:00:06Z' },
  reachable: true,
  unreachable: null,
};

export const sampleStray: StrayEntry = {
  pid: 99,
  user: 'alice',
  command: '/usr/bin/python3 old_bot.py --db-password=hunter2',
  cwd: '/srv/old',
  startedAt: '2026-11-20T12:00:00Z',
  grade: 'proven',
  proof: ['token in environment', 'connected to api root'],
  respawner: null,
};

export const sampleStatus = (more: Partial<StatusDocument> = {}): StatusDocument => ({
  bot: { id: 123456, username: 'my_bot' },
  state: 'polling',
  healthy: true,
  problems: [],
  supervisor: {
    pid: 10,
    startedAt: '2026-11-21T09:00:00Z',
    version: '1.2.3',
    command: ['/usr/bin/python3', 'bot.py', '--api-key=hunter2'],
    cwd: '/srv/bot',
  },
  worker: {
    pid: 11,
    startedAt: '2026-11-21T11:59:00Z',
    spawns: 3,
    restarts: 2,
    lastExit: { code: 1, signal: null, at: '2026-11-21T11:58:59Z' },
    tree: [
      { pid: 11, ppid: 10, command: '/usr/bin/python3 bot.py --api-key=hunter2' },
      { pid: 12, ppid: 11, command: '/usr/bin/ffmpeg -i x' },
    ],
    cpuPercent: 2.5,
    memoryBytes: 50_331_648,
  },
  polling: {
    via: 'gateway',
    by: 'plain',
    past: null,
    polls: 40,
    lastPollAt: '2026-11-21T11:59:30Z',
    offset: 42,
    updates: 7,
    stolen: 9,
    conflicts: { poller: 4, webhook: 1 },
    latencyMs: 12.5,
    pollers: [{ pid: 11, role: 'owner' }],
    refused: 5,
    webhookAttempts: 6,
  },
  webhook: { url: '', pendingUpdates: 8, lastError: null, checkedAt: null },
  earlier: [],
  strays: [],
  lease: null,
  log: null,
  alerts: null,
  ...more,
});
