/** The version in package.json; put in by the build. */
declare const SINGLEPOLL_VERSION: string | undefined;
export const VERSION = typeof SINGLEPOLL_VERSION === 'string' ? SINGLEPOLL_VERSION : '0.0.0-source';
