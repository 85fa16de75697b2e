import { compare } from './compare.js';
import { HELP, OptionError, parseOptions, type BenchOptions } from './options.js';
import { chooseIoredis5 } from './processes/ioredis.js';
import { run } from './run.js';
import { Session } from './session.js';

/* `npm run bench -- [options]`: see `--help`. The report goes to stdout, what is going on to stderr. */

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

function optionsOrExit(): BenchOptions {
  try {
    const options = parseOptions(process.argv.slice(2));
    if (options) {
      return options;
    }
    console.log(HELP);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof OptionError)) {
      throw error;
    }
    console.error(`${error.message}\n\n${HELP}`);
    process.exit(1);
  }
}

const options = optionsOrExit();
const session = new Session(options, (line) => console.error(line));
for (const [signal, code] of Object.entries(EXIT_CODES)) {
  // What is being measured fails then, and the run ends in its own way.
  process.once(signal, () => {
    process.exitCode = code;
    session.close().catch((error: unknown) => console.error(error));
  });
}
try {
  if (options.ioredis === '5') {
    chooseIoredis5(session.say);
  }
  await (options.compare === undefined ? run(session, options) : compare(session, options, options.compare));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode ??= 1;
} finally {
  await session.close();
}
