import type { ChainableCommander } from 'ioredis';
import { refusalOf } from './redis-errors.js';

/**
 * Runs a transaction and returns the answers of its commands. Throws the first error among them, or why the transaction
 * was not run at all.
 */
export async function execute(transaction: ChainableCommander): Promise<unknown[]> {
  const results = await transaction.exec().catch((error: unknown) => {
    throw refusalOf(error);
  });
  if (!results) {
    throw new Error('Redis did not run the transaction');
  }
  return results.map(([error, answer]) => {
    if (error) {
      throw error;
    }
    return answer;
  });
}
