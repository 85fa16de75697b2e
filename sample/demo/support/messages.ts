/** What the demo's services tell `main.ts`, by the channel that `fork` opens. */
export type FromService =
  | {
      kind: 'ready';
      /** Where an HTTP application listens. */
      url?: string | undefined;
    }
  | {
      /** It has begun to make an order. */
      kind: 'begun';
    }
  | Published
  | {
      kind: 'handled';
      /** The orders whose events this process has handled since it last said so. */
      ids: string[];
    }
  | Died;

/** An order was made, and its event stored. */
export interface Published {
  kind: 'published';
  id: string;
  /** How often the request had been delivered by then. */
  deliveries: number;
}

/** An instance of `orders` says that another one is dead. */
export interface Died {
  kind: 'died';
  /** The dead one. */
  instance: string;
  /** What it had not settled, and is free to be taken over. */
  entries: number;
}

/** What `main.ts` tells its services. */
export interface ToService {
  kind: 'stop';
}
