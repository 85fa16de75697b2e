import { ConnectError } from '../../../lib/index.js';
import { AT_WORK, NOT_YET } from '../load.js';

/** Starts, and says that it works; ends the process where Redis refuses it at present. */
export async function begin(start: () => Promise<unknown>): Promise<void> {
  try {
    await start();
  } catch (error) {
    if (error instanceof ConnectError) {
      process.stdout.write(`${error.message}\n`);
      process.exit(NOT_YET);
    }
    throw error;
  }
  process.stdout.write(`${AT_WORK}\n`);
}
