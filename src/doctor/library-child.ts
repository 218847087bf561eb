/** `library-child.js FOLDER LANGUAGE`, a program of its own: prints the line for the library of a project (intercept/libraries.ts). */
import { findLibrary } from './code.ts';
import { isAside, readProject } from './files.ts';

const [, , folder = '.', language] = process.argv;
const files = readProject(folder).files.filter(({ path }) => !isAside(path));
process.stdout.write(findLibrary(files, language)?.apiRoot ?? '');
