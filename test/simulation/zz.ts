import { DOOR_BROKEN_RULES } from './door-broken-rules.ts';
import { simulationWith } from './mutate.ts';

for (const rule of DOOR_BROKEN_RULES) {
  const broken = await simulationWith<typeof import('./door.ts')>(rule, 'door.ts');
  if (rule.file !== 'src/core/theft.ts' && (await broken.runDoorSeed(rule.seed)).violations.length > 0)
    continue;
  let found = 0;
  let why = '';
  for (let s = 1; s <= 4000 && !found; s++) {
    const v = (await broken.runDoorSeed(s)).violations;
    if (v.length) {
      found = s;
      why = v[0]!;
    }
  }
  console.log(`${rule.name}: was ${rule.seed} now ${found} ${why.slice(0, 90)}`);
}
