/** Where this layer reports to: what Nest's LoggerService offers, without knowing Nest. */
export interface Log {
  log(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}
