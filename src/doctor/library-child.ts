/** `library-child.js FOLDER LANGUAGE WORD…`, a program of its own: prints the line for the library of a project (intercept/libraries.ts). */
import { findLibrary } from './code.ts';
import { isKind, readProject } from './files.ts';

const [, , folder = '.', language, ...words] = process.argv;
const files = readProject(folder).files.filter(({ path }) => !isKind('aside', path));
const named = files.filter(({ path }) => words.some((word) => `/${word}`.endsWith(`/${path}`)));
process.stdout.write((findLibrary(named, language) ?? findLibrary(files, language))?.apiRoot ?? '');
