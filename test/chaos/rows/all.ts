import type { Row } from '../row.ts';
import { ENGINE_ROWS } from './engines.ts';
import { HOLDER_ROWS } from './holders.ts';
import { WAY_ROWS } from './ways.ts';

/** In the order of their ids. */
export const ROWS: readonly Row[] = [...HOLDER_ROWS, ...WAY_ROWS, ...ENGINE_ROWS].sort((a, b) =>
  a.id.localeCompare(b.id, 'en', { numeric: true }),
);
