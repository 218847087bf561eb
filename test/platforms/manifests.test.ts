// Files for systems that can't be had here, checked by their own schemas: the example for Kubernetes, and the workflow of hosted CI.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { npmModules } from '../support/programs.ts';

const load = createRequire(join(npmModules('schemas', '1'), 'any.js'));

interface Manifest {
  apiVersion: string;
  kind: string;
}

/** Throws where the API server would refuse it. */
function check(manifest: Manifest): void {
  const { [manifest.kind]: Model } = load(`kubernetes-models/${manifest.apiVersion}`);
  new Model(manifest).validate();
}

test('kubernetes.yaml is what the API of Kubernetes takes', () => {
  const text = readFileSync('examples/kubernetes.yaml', 'utf8');
  const documents = parseAllDocuments(text).map((it) => it.toJS() as Manifest);
  assert.deepEqual(documents.map(({ kind }) => kind).sort(), [
    'Deployment',
    'Role',
    'RoleBinding',
    'ServiceAccount',
  ]);
  for (const it of documents) check(it);
  const wrong = text.replace('terminationGracePeriodSeconds: 30', 'terminationGracePeriodSeconds: soon');
  assert.throws(() => check(parseAllDocuments(wrong)[0]?.toJS()), /terminationGracePeriodSeconds/);
});

test('the workflows of hosted CI fit their schema, and run the scripts that there are', () => {
  const { validateWorkflow } = load('@action-validator/core');
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
  for (const name of readdirSync('.github/workflows')) {
    const text = readFileSync(join('.github/workflows', name), 'utf8');
    assert.deepEqual(validateWorkflow(text).errors, [], name);
    assert.notDeepEqual(validateWorkflow(text.replace('runs-on:', 'runs-at:')).errors, []);
    const { jobs } = parse(text) as {
      jobs: Record<string, { strategy?: { matrix?: { suite?: string[] } }; steps: { run?: string }[] }>;
    };
    for (const { steps, strategy } of Object.values(jobs))
      for (const { run = '' } of steps)
        for (const [, script = ''] of run.matchAll(/npm run ([\w:]+)(?:\$\{\{ matrix\.suite \}\})?/g))
          for (const suite of script.endsWith(':') ? (strategy?.matrix?.suite ?? []) : [''])
            assert.ok(script + suite in scripts, script + suite);
  }
});
