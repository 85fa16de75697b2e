export const ORDER_CREATED = 'order.created';

export interface Order {
  id: string;
  country: string;
  /** In cents. Orders of the old shop have none. */
  total?: number;
}
