/** Twenty and more projects as they are out there: doctor finds what is wrong with them, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findCauses } from '../../src/doctor/rules.ts';
import { studyProject } from '../../src/project/facts.ts';
import { asProject, carried, projectNames } from '../support/project.ts';

const names = projectNames();

test('at least twenty, half of them healthy', () => {
  const projects = names.map(carried);
  assert.ok(projects.length >= 20);
  const healthy = projects.filter((project) => project.healthy).length;
  assert.ok(healthy * 2 >= projects.length, `${healthy} of ${projects.length} are healthy`);
});

for (const name of names) {
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
    for (const { why, cure } of found) {
      assert.ok(why.length > 20 && cure.length > 3 && !/\n/.test(why + cure), told);
    }
    for (const token of project.tokens) assert.ok(!told.includes(token.split(':')[1]!), 'no token is told');
  });
}
