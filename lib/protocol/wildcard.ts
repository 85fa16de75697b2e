/**
 * Which topics a subscription means. A pattern is made of segments with dots between them. In a subscription the segment
 * `*` stands for any one segment, and `>`, as the last one, for one or more. The text decides, so that whoever reads a
 * subscription in Redis decides the same: what Nest makes of an object begins with a brace, and is neither a wildcard
 * nor meant by one. docs/wire.md has these rules, and `scripts/wildcards.ts` has them in Lua.
 */

/** How a pattern begins that was an object. */
const OBJECT = '{';

/** Whether a subscription means topics of other names than its own. */
export function isWildcard(pattern: string): boolean {
  // Most patterns hold neither character, and need not be taken apart.
  if ((!pattern.includes('*') && !pattern.includes('>')) || pattern.startsWith(OBJECT)) {
    return false;
  }
  const segments = pattern.split('.');
  return segments.includes('*') || segments[segments.length - 1] === '>';
}

/** Whether a subscription, wildcard or not, means a topic. */
export function means(pattern: string, topic: string): boolean {
  return pattern === topic || (isWildcard(pattern) && wildcardMeans(pattern, topic));
}

/** The same for what is known to be a wildcard. */
export function wildcardMeans(wildcard: string, topic: string): boolean {
  if (topic.startsWith(OBJECT)) {
    return false;
  }
  const wanted = wildcard.split('.');
  const given = topic.split('.');
  const isOpen = wanted[wanted.length - 1] === '>';
  if (isOpen ? given.length < wanted.length : given.length !== wanted.length) {
    return false;
  }
  const fixed = isOpen ? wanted.length - 1 : wanted.length;
  for (let i = 0; i < fixed; i++) {
    if (wanted[i] !== '*' && wanted[i] !== given[i]) {
      return false;
    }
  }
  return true;
}

/**
 * Why a handler may not subscribe to a pattern, as the end of a sentence; `undefined` where it may. What looks like a
 * wildcard and is none would wait for ever for a topic of that very name.
 * @param isText whether it was given as a string, and not as an object or number
 */
export function subscriptionFault(pattern: string, isText: boolean): string | undefined {
  if (!isText) {
    return undefined;
  }
  const segments = pattern.split('.');
  const hasWildcard = segments.includes('*') || segments.includes('>');
  if (pattern.startsWith(OBJECT)) {
    return hasWildcard
      ? "begins with '{', as patterns do that were objects, and cannot be a wildcard"
      : undefined;
  }
  if (segments.slice(0, -1).includes('>')) {
    return "has the segment '>' before its end; '>' stands for all segments that follow, and '*' for one";
  }
  if (segments.some((segment) => segment.length > 1 && segment.includes('*'))) {
    return "has '*' within a segment; it stands for a whole one, as in 'orders.*.created', and '>' for one or more at the end, as in 'orders.>'";
  }
  return undefined;
}
