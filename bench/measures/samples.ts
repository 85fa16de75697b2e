import type { Deployment, Used } from '../deployment.js';
import type { RequestOrder } from '../processes/protocol.js';
import type { Figures } from '../results.js';
import type { Sampler } from './alternate.js';

/** How many events are on their way to the broker at a time. */
const PUBLISHED_AT_ONCE = 1_024;

/** What each of `count` has cost. */
export function costs(used: Used, count: number): Figures {
  const { client, server, broker, nodes, commands } = used;
  return {
    cpuClient: client / count,
    cpuServer: server / count,
    ...(broker !== undefined && { cpu: (client + server + broker) / count, cpuBroker: broker / count }),
    ...(nodes.length > 0 && { cpuBusiest: Math.max(...nodes) / count }),
    ...(commands !== undefined && { commands: commands / count }),
  };
}

/** Requests/s, latencies and costs of requests. */
export function requestSampler(setting: string, order: RequestOrder): Sampler {
  return {
    setting,
    take: async (deployment: Deployment): Promise<Figures> => {
      const { result, used } = await deployment.request(order);
      const { requests, elapsed, p50, p95, p99 } = result;
      return { rate: (requests / elapsed) * 1000, p50, p95, p99, ...costs(used, requests) };
    },
  };
}

/** Events/s and costs of events. */
export function eventSampler(setting: string, count: number): Sampler {
  return {
    setting,
    take: async (deployment: Deployment): Promise<Figures> => {
      const { result, used } = await deployment.publish(count, PUBLISHED_AT_ONCE);
      const { from, to, handled } = result;
      return {
        published: (count / (to - from)) * 1000,
        handled: (count / (handled - from)) * 1000,
        ...costs(used, count),
      };
    },
  };
}
