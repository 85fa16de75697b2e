export const CREATE_ORDER = 'order.create';
export const ORDER_CREATED = 'order.created';

/** What a customer sends. */
export interface NewOrder {
  customer: string;
  quantity: number;
  /** Of one piece, in cents. */
  price: number;
}

/** What comes back, and what the event tells. */
export interface Order extends NewOrder {
  id: string;
  total: number;
  /** The instance of `orders` that made it. */
  instance: string;
  /** How often the request had been delivered by then: more than once where an instance died with it. */
  deliveries: number;
}
