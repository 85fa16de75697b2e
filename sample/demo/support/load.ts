import type { NewOrder, Order } from '../contracts.js';
import type { Ledger } from './ledger.js';

/** Sends the requests of the ledger, `parallel` at a time, until all have ended or the signal aborts. */
export async function sendOrders(
  url: string,
  ledger: Ledger,
  parallel: number,
  signal: AbortSignal,
): Promise<void> {
  let next = 1;
  const customer = async (): Promise<void> => {
    while (next <= ledger.requests) {
      const number = next++;
      await sendOrder(url, ledger, orderOf(number), signal);
    }
  };
  await Promise.all(Array.from({ length: parallel }, customer));
}

function orderOf(number: number): NewOrder {
  return { customer: `customer ${number}`, quantity: 1 + (number % 5), price: 100 + number };
}

async function sendOrder(url: string, ledger: Ledger, order: NewOrder, signal: AbortSignal): Promise<void> {
  const start = performance.now();
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(order),
      signal,
    });
    const body: unknown = await response.json();
    if (response.status !== 201) {
      throw new Error(`HTTP ${response.status}: ${JSON.stringify(body)}`);
    }
    ledger.answered(order, body as Order, performance.now() - start);
  } catch (error) {
    signal.throwIfAborted();
    ledger.failed(error);
  }
}
