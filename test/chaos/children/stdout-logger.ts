import type { LoggerService } from '@nestjs/common';

/** Writes Nest's lines to stdout, errors too: what is on stderr is what nobody has caught. */
export class StdoutLogger implements LoggerService {
  log = say('log');
  warn = say('warn');
  error = say('error');
}

function say(level: string): (message: unknown) => void {
  return (message) => void process.stdout.write(`${new Date().toISOString()} ${level} ${String(message)}\n`);
}
