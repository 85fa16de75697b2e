/** What the demo's services tell `main.ts`, by the channel that `fork` opens. */
export type FromService =
  | {
      kind: 'ready';
      /** Where an HTTP application listens. */
      url?: string | undefined;
    }
  | {
      kind: 'orders';
      /** Those whose events this process has published, or handled, since it last said so. */
      ids: string[];
    };

/** What `main.ts` tells its services. */
export interface ToService {
  kind: 'stop';
}
