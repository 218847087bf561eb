import type { Row } from '../row.ts';
import { engineClock, pooler, supervisorClock, suspended } from './clocks.ts';
import { longFreeze, shortFreeze } from './engine.ts';
import * as forget from './forget.ts';
import { restart, sigkill, sigkillSupervisor, sigterm } from './leave.ts';
import {
  answersFrozen,
  cableCut,
  cableCutBetweenPolls,
  frozenBothWays,
  oneAnswerLost,
  reset,
} from './network.ts';
import * as pauses from './pauses.ts';
import { stubbornAsked, stubbornLost, tenStandbys, twoStandbys } from './workers.ts';

export const ROWS: readonly Row[] = [
  ...[sigterm, sigkill, sigkillSupervisor, restart],
  ...[frozenBothWays, cableCut, cableCutBetweenPolls, reset, oneAnswerLost, answersFrozen],
  ...[pauses.supervisor, pauses.machine],
  ...[shortFreeze, longFreeze],
  ...[
    forget.wiped,
    forget.emptySoon,
    forget.emptyLate,
    forget.wipedUnseen,
    forget.rolledBack,
    forget.takingForgotten,
  ],
  ...[engineClock, supervisorClock, suspended, stubbornLost, stubbornAsked, twoStandbys, tenStandbys],
  ...[pooler, forget.edited],
];
