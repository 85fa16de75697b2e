import { fileURLToPath } from 'node:url';
import { extraFile, extraVersions, installExtra } from '../extras.js';

const EXTRA = 'ioredis-5';

/** Where a child finds the ioredis that it is to load. */
export const IOREDIS_FILE = 'BENCH_IOREDIS';

let isChosen = false;

/** Has all children load ioredis 5, whoever asks for it there. Installs it; throws where that fails. */
export function chooseIoredis5(say: (line: string) => void): void {
  installExtra(EXTRA, say);
  process.env[IOREDIS_FILE] = extraFile(EXTRA, 'ioredis');
  isChosen = true;
}

/** What Node is given to start a child with, so that it does. */
export function ioredisArguments(): readonly string[] {
  return isChosen ? ['--import', fileURLToPath(new URL('use-ioredis.js', import.meta.url))] : [];
}

/** The version of the ioredis that children load; `undefined`: that of the package. */
export function chosenIoredis(): string | undefined {
  return isChosen ? extraVersions(EXTRA)['ioredis'] : undefined;
}
