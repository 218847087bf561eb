/** Rules of the lock's election, each broken on purpose; the simulation has to catch every one (see broken-rules.ts). */
import type { BrokenRule } from './broken-rules.ts';

const ELECTION = 'src/lock/election.ts';
const EDGES = 'test/simulation/lock.ts';

export const LOCK_BROKEN_RULES: readonly BrokenRule[] = [
  // Never two supervisors.
  {
    name: 'takes one that does not answer for gone',
    seed: 37,
    file: ELECTION,
    find: "what === 'holder' || what === 'silent' || what === 'old'",
    put: "what === 'holder' || what === 'old'",
  },
  {
    name: 'takes an older release for a liar',
    seed: 2,
    file: ELECTION,
    find: "what === 'holder' || what === 'silent' || what === 'old'",
    put: "what === 'holder' || what === 'silent'",
  },
  {
    name: 'does not mind who holds another name',
    seed: 7,
    file: ELECTION,
    find: "what === 'holder' || what === 'silent' || what === 'old'",
    put: "(what === 'holder' && mine === null) || what === 'silent' || what === 'old'",
  },
  {
    name: 'goes before a contender with a higher name without waiting for it to leave',
    seed: 7,
    file: ELECTION,
    find: "const rivals = others.filter(({ what }) => what === 'contender');",
    put: "const rivals = others.filter(({ what, name }) => what === 'contender' && (mine === null || name < mine));",
  },
  {
    name: 'does not mind contenders',
    seed: 7,
    file: ELECTION,
    find: "const rivals = others.filter(({ what }) => what === 'contender');",
    put: 'const rivals: typeof others = [];',
  },
  {
    name: 'looks before it binds, and not afterwards',
    seed: 7,
    file: ELECTION,
    find: "if (decision.kind === 'bind') bound = await ports.bind(decision.name);",
    put: "if (decision.kind === 'bind') { bound = await ports.bind(decision.name); if (bound) { bound.hold(); held = true; return { held: bound, look, to: null }; } }",
  },
  {
    name: 'holds the first name without a look at the others',
    seed: 56,
    file: ELECTION,
    find: 'let held = false;\n  try {',
    put: 'let held = false;\n  if (bound) { bound.hold(); return { held: bound, look: { shown: [] } as unknown as Look, to: null }; }\n  try {',
  },
  // Somebody gets it.
  {
    name: 'gives way to liars',
    seed: 1,
    file: ELECTION,
    find: "what === 'holder' || what === 'silent' || what === 'old'",
    put: "what === 'holder' || what === 'silent' || what === 'old' || what === 'liar'",
  },
  {
    name: 'knows the first name only',
    seed: 7,
    file: ELECTION,
    find: "const free = others.find(({ what }) => what === 'free');",
    put: "const free = others.find(({ what, name }) => what === 'free' && name === 0);",
  },
  {
    name: 'never steps back before a lower name',
    seed: 160,
    file: ELECTION,
    find: "return { kind: 'step-back' };",
    put: "return { kind: 'wait' };",
  },
  {
    name: 'gives up where another contender is seen',
    seed: 658,
    file: ELECTION,
    find: "if (rivals.length > 0) return { kind: 'wait' };",
    put: "if (rivals.length > 0) return { kind: 'yield', to: rivals[0]!.name };",
    and: {
      file: ELECTION,
      find: "return { kind: 'step-back' };",
      put: "return { kind: 'yield', to: 0 };",
    },
  },
  {
    name: 'keeps its name when it yields',
    seed: 1,
    file: ELECTION,
    find: 'if (!held) bound?.release();',
    put: '',
  },
  {
    name: 'keeps its name when it steps back',
    seed: 160,
    file: ELECTION,
    find: 'bound?.release();\n        bound = null;',
    put: 'bound = null;',
  },
  {
    name: 'never says that it holds the lock',
    seed: 3,
    file: EDGES,
    find: "return socket.holds ? 'holder' : 'contender';",
    put: "return 'contender';",
  },
];
