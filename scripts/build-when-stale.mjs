// npm's `prepare`: it runs at `npm ci`, and again for the first `npx singlepoll` in this folder, which need not wait for a build.
import { buildWhenStale } from './prepare.mjs';

buildWhenStale();
