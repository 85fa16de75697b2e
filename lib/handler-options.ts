import { ConfigurationError } from './errors.js';
import { retryFault, trueOrFalse, type Fault } from './option-faults.js';
import { withDefaults, type RetryOptions } from './options.js';

/** What an event handler asks for: the second argument of `@EventPattern(pattern, options)`. */
export interface EventHandlerOptions {
  /** How often it is called for an event, and after which pauses. Default: those of the service. */
  retry?: RetryOptions;
  /** Whether each instance of the service calls it, not one of them. Default false. */
  broadcast?: boolean;
}

/** What of the service's options a handler's defaults are. */
export interface HandlerDefaults {
  retry: Required<RetryOptions>;
}

/** Handler options with every default filled in. */
export interface ResolvedHandlerOptions {
  retry: Required<RetryOptions>;
  broadcast: boolean;
}

/** What is wrong with a value of each option. Nest's users keep things of their own beside them, which are let be. */
const FAULTS: Record<keyof EventHandlerOptions, Fault> = {
  retry: retryFault,
  broadcast: trueOrFalse,
};

/** Checks what a handler asks for and fills in the service's defaults. Throws a `ConfigurationError`. */
export function resolveHandlerOptions(
  extras: Readonly<Record<string, unknown>>,
  defaults: HandlerDefaults,
  pattern: string,
): ResolvedHandlerOptions {
  for (const [name, faultOf] of Object.entries(FAULTS)) {
    const value = extras[name];
    const fault = value === undefined ? undefined : faultOf(value);
    if (fault !== undefined) {
      throw new ConfigurationError(`Option '${name}' of the handler of '${pattern}' ${fault}.`);
    }
  }
  const { retry, broadcast = false } = extras as EventHandlerOptions;
  return { retry: withDefaults(retry, defaults.retry) as Required<RetryOptions>, broadcast };
}
