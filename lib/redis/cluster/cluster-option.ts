import type { Cluster, ClusterNode, ClusterOptions } from 'ioredis';
import { ConfigurationError } from '../../errors.js';
import { assertNoKeyPrefix } from '../connection-factory.js';
import type { NodeAddress, TopologyOptions } from './topology.js';

/** A Redis Cluster, by some of its nodes. */
export interface ClusterConnectionOption {
  cluster: {
    /** Where to look first: URLs (`rediss://` for TLS) or hosts and ports. One that answers is enough. */
    nodes: ClusterNode[];
    /** ioredis' own: `redisOptions` (user, password, TLS) and `natMap` are used. */
    options?: ClusterOptions;
  };
}

const DEFAULT_PORT = 6379;

/** Whether the option `connection` names a cluster. */
export function isClusterOption(option: unknown): option is Cluster | ClusterConnectionOption {
  // Its own: every Redis instance has a method of this name.
  return (
    isInstance(option) || (typeof option === 'object' && option !== null && Object.hasOwn(option, 'cluster'))
  );
}

/** Takes apart what was given for a cluster. Throws a `ConfigurationError` for what cannot be used. */
export function resolveCluster(option: Cluster | ClusterConnectionOption): TopologyOptions {
  const { nodes, options } = isInstance(option) ? partsOf(option) : option.cluster;
  if (!Array.isArray(nodes) || nodes.length === 0) {
    throw new ConfigurationError(
      "Option 'connection': 'cluster.nodes' must name at least one node, as in { cluster: { nodes: ['redis://10.0.0.1:6379'] } }.",
    );
  }
  const redisOptions = options?.redisOptions ?? {};
  assertNoKeyPrefix(options?.keyPrefix ?? (redisOptions as { keyPrefix?: string }).keyPrefix);
  const seeds = nodes.map(addressOf);
  const { username, password } = credentialsOf(nodes);
  return {
    seeds,
    redisOptions: {
      ...(isSecure(nodes) ? { tls: {} } : {}),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...redisOptions,
    },
    natMap: options?.natMap,
  };
}

/** By shape, not by class: an application may hold another copy of ioredis than this package. */
function isInstance(option: unknown): option is Cluster {
  return (option as { isCluster?: unknown } | null | undefined)?.isCluster === true;
}

/** ioredis keeps the nodes that a `Cluster` was made from for itself, but under this name, in version 5 and 6. */
function partsOf(cluster: Cluster): ClusterConnectionOption['cluster'] {
  const { startupNodes, options } = cluster as unknown as {
    startupNodes: ClusterNode[];
    options: ClusterOptions;
  };
  return { nodes: startupNodes, options };
}

function addressOf(node: ClusterNode): NodeAddress {
  if (typeof node === 'number') {
    return { host: '127.0.0.1', port: node };
  }
  if (typeof node === 'string') {
    const url = urlOf(node);
    return { host: url.hostname, port: url.port === '' ? DEFAULT_PORT : Number(url.port) };
  }
  return { host: node.host ?? '127.0.0.1', port: Number(node.port ?? DEFAULT_PORT) };
}

/** In URLs, as ioredis takes them; all nodes have the same. */
function credentialsOf(nodes: readonly ClusterNode[]): { username?: string; password?: string } {
  const [url] = nodes.filter((node) => typeof node === 'string').map(urlOf);
  return {
    ...(url?.username ? { username: decodeURIComponent(url.username) } : {}),
    ...(url?.password ? { password: decodeURIComponent(url.password) } : {}),
  };
}

/** As a URL says it for a single Redis. */
function isSecure(nodes: readonly ClusterNode[]): boolean {
  return nodes.some((node) => typeof node === 'string' && node.startsWith('rediss://'));
}

function urlOf(node: string): URL {
  const text = node.includes('://') ? node : `redis://${node}`;
  if (!URL.canParse(text)) {
    // It may hold a password, so it is not repeated.
    throw new ConfigurationError("Option 'connection': one of 'cluster.nodes' is not a valid URL.");
  }
  return new URL(text);
}
