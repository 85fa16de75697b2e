import { expect, test } from '@jest/globals';
import { Cluster, type ClusterNode, type ClusterOptions } from 'ioredis';
import { ConfigurationError } from '../../../lib/errors.js';
import { resolveCluster } from '../../../lib/redis/cluster/cluster-option.js';

const resolve = (nodes: ClusterNode[], options?: ClusterOptions) =>
  resolveCluster({ cluster: { nodes, options } });

test('nodes are URLs, ports, or hosts and ports', () => {
  const { seeds } = resolve(['redis://a:1', 'redis://b', 'c:3', 4, { host: 'e', port: 5 }, {}]);
  expect(seeds.map(({ host, port }) => `${host}:${port}`)).toEqual([
    'a:1',
    'b:6379',
    'c:3',
    '127.0.0.1:4',
    'e:5',
    '127.0.0.1:6379',
  ]);
});

test('rediss:// means TLS, with credentials as URLs have them', () => {
  const { redisOptions } = resolve(['rediss://app:p%40ss@a:1', 'rediss://b:2']);
  expect(redisOptions).toEqual({ tls: {}, username: 'app', password: 'p@ss' });
  expect(resolve(['redis://a:1']).redisOptions).toEqual({});
});

test('redisOptions win over what URLs say', () => {
  const tls = { servername: 'redis.internal' };
  const { redisOptions } = resolve(['rediss://app:old@a:1'], { redisOptions: { password: 'new', tls } });
  expect(redisOptions).toEqual({ tls, username: 'app', password: 'new' });
});

test('a Cluster gives its nodes and options', () => {
  const natMap = { 'a:1': { host: 'b', port: 2 } };
  const cluster = new Cluster(['redis://a:1'], {
    lazyConnect: true,
    natMap,
    redisOptions: { password: 'secret' },
  });
  expect(resolveCluster(cluster)).toEqual({
    seeds: [{ host: 'a', port: 1 }],
    redisOptions: { password: 'secret' },
    natMap,
  });
});

test.each<[string, () => unknown]>([
  ['no nodes', () => resolve([])],
  ['what is no URL', () => resolve(['redis://a:port'])],
  ["ioredis' keyPrefix", () => resolve(['redis://a'], { keyPrefix: 'x' })],
])('%s is a ConfigurationError', (_, attempt) => {
  expect(attempt).toThrow(ConfigurationError);
});
