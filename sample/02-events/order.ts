export const ORDER_CREATED = 'order.created';

export interface Order {
  id: number;
  article: string;
}
