export const PRICE_OF = 'price.of';
export const SET_PRICE = 'price.set';
export const PRICE_CHANGED = 'price.changed';

export interface Price {
  article: string;
  cents: number;
}
