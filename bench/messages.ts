import type { System } from './systems.js';

/** What the main process tells a child when it starts it. */
export interface ChildSetup {
  system: System;
  port: number;
}

/** What the main process asks a client for. */
export interface RunOrder {
  inFlight: number;
  seconds: number;
}

/** What a client measured. */
export interface RunResult {
  requests: number;
  seconds: number;
  /** Microseconds of CPU, user and system. */
  cpu: number;
}

/** Microseconds of CPU that this process has used. */
export function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** What the main process gave this child. */
export function childSetup(): ChildSetup {
  return JSON.parse(process.argv[2] ?? '') as ChildSetup;
}
