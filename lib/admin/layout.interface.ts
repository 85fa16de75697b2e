/** What a service has not settled of a stream. */
export interface WaitingMessages {
  shard: number;
  service: string;
  /** The event pattern; `undefined`: the service's inbox. */
  pattern: string | undefined;
  /** Given to no instance yet. Counted up to 10,000. */
  undelivered: number;
  /** Given to an instance and not settled: being handled, waiting for the next delivery, or left by one that died. */
  pending: number;
}

/** What lies in a namespace, and who uses it. */
export interface LayoutState {
  /** Over how many shards it is spread; `undefined` where nobody has used it yet. */
  shards: number | undefined;
  /** The number it is being changed to, where `change()` runs or was interrupted. */
  changingTo: number | undefined;
  /** What services have not settled: streams of which nothing is left are not named. */
  waiting: WaitingMessages[];
  /** Events to whose pattern no service subscribes. `change()` carries them over. */
  unclaimed: { shard: number; pattern: string; entries: number }[];
  /** Messages that are to be sent later. */
  scheduled: { shard: number; entries: number }[];
  /** Dead letters. */
  deadLetters: { shard: number; service: string; entries: number }[];
  /** Instances whose lease has not run out. */
  instances: { service: string; instance: string }[];
  /** The ids of clients that are connected, or whose process died within the last minute. */
  clients: string[];
  /** Whether `waiting` and `scheduled` are empty: once nothing more is published, instances may be stopped. */
  isDrained: boolean;
}

/** What a namespace is to be like. */
export interface LayoutTarget {
  /** 1 to 1,024. */
  shards: number;
}
