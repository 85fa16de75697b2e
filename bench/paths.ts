import { fileURLToPath } from 'node:url';

/** The folder of the package, seen from the compiled benchmark. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
