export const TOTAL = 'total';

/** Their topics lie in different shards. */
export const EVENTS = ['cake.baked', 'cake.sold', 'bread.sold'] as const;
export type BakeryEvent = (typeof EVENTS)[number];

export interface Order {
  price: number;
  quantity: number;
}

/** All of a namespace agree on how many. */
export const SHARDS = 3;
