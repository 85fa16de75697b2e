import type { ChainableCommander } from 'ioredis';

/**
 * Runs a transaction and returns the answers of its commands. Throws the first error among them, or that the
 * transaction was not run at all.
 */
export async function execute(transaction: ChainableCommander): Promise<unknown[]> {
  const results = await transaction.exec();
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
