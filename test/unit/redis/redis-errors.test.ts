import { describe, expect, test } from '@jest/globals';
import {
  commandFailure,
  errorWord,
  isAuthenticationError,
  isBusyGroup,
  isNoGroup,
  isNoPermission,
  isNoScript,
  isReplyError,
  messageOf,
} from '../../../lib/redis/redis-errors.js';

/** As the parser of ioredis makes it from a line that begins with '-'. */
function answered(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' });
}

describe('what is known after a failure', () => {
  test.each([
    ['OOM', answered('OOM command not allowed when used memory > maxmemory.')],
    ['no word at all', answered('')],
    ['an error that looks like one of the connection', answered("Stream isn't writeable")],
  ])('Redis answered: %s', (_, error) => {
    expect(commandFailure(error)).toBe('refused');
  });

  test.each([
    "READONLY You can't write against a read only replica.",
    'MOVED 3999 127.0.0.1:6381',
    'ASK 3999 127.0.0.1:6381',
    'TRYAGAIN Multiple keys request during rehashing of slot',
    'CLUSTERDOWN The cluster is down',
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica.",
  ])('it came to the wrong node, or too early: %s', (message) => {
    expect(commandFailure(answered(message))).toBe('unsent');
  });

  test('ioredis did not write it', () => {
    expect(commandFailure(new Error("Stream isn't writeable and enableOfflineQueue options is false"))).toBe(
      'unsent',
    );
  });

  test.each([
    new Error('Connection is closed.'),
    Object.assign(new Error('Reached the max retries per request limit (which is 0).'), {
      name: 'MaxRetriesPerRequestError',
    }),
    Object.assign(new Error('Command aborted due to connection close'), { name: 'AbortError' }),
    Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }),
    new Error("first: Stream isn't writeable"),
    "Stream isn't writeable",
    undefined,
    null,
  ])('anything else may have happened: %s', (error) => {
    expect(commandFailure(error)).toBe('unknown');
  });
});

describe('the first word', () => {
  const errors = {
    NOGROUP: answered("NOGROUP No such key 'a' or consumer group 'b'"),
    BUSYGROUP: answered('BUSYGROUP Consumer Group name already exists'),
    NOSCRIPT: answered('NOSCRIPT No matching script. Please use EVAL.'),
    NOPERM: answered("NOPERM this user has no permissions to run the 'xadd' command"),
    ERR: answered('ERR NOGROUP is not what this begins with'),
  };
  const checks = { NOGROUP: isNoGroup, BUSYGROUP: isBusyGroup, NOSCRIPT: isNoScript, NOPERM: isNoPermission };

  test.each(Object.keys(errors) as (keyof typeof errors)[])('%s', (word) => {
    expect(errorWord(errors[word])).toBe(word);
    for (const [name, is] of Object.entries(checks)) {
      expect(is(errors[word])).toBe(name === word);
    }
  });

  test('is asked of nothing but answers of Redis', () => {
    expect(errorWord(new Error('NOGROUP'))).toBe('');
    expect(errorWord('NOGROUP')).toBe('');
    expect(isNoGroup(undefined)).toBe(false);
    expect(isReplyError({ name: 'ReplyError', message: 'NOGROUP' })).toBe(false);
  });

  test('is hidden where a script did what its user may not, in Redis 6.2 and 7.0', () => {
    const what = "The user executing the script can't run this command or subcommand";
    expect(isNoPermission(answered(`ERR ${what} script: 8d57, on @user_script:1.`))).toBe(true);
    expect(
      isNoPermission(answered(`ERR Error running script (call to f_8d57): @user_script:1: ${what}`)),
    ).toBe(true);
    expect(isNoPermission(new Error(what))).toBe(false);
  });

  test('of an error that is only a word', () => {
    expect(errorWord(answered('NOGROUP'))).toBe('NOGROUP');
  });
});

describe('wrong credentials', () => {
  test.each([
    answered('WRONGPASS invalid username-password pair or user is disabled.'),
    answered('NOAUTH Authentication required.'),
    answered("NOPERM this user has no permissions to run the 'info' command"),
    answered('ERR invalid password'),
  ])('%s', (error) => {
    expect(isAuthenticationError(error)).toBe(true);
  });

  test.each([
    answered('LOADING Redis is loading the dataset in memory'),
    new Error('connect ECONNREFUSED'),
    undefined,
  ])('not %s', (error) => {
    expect(isAuthenticationError(error)).toBe(false);
  });
});

test('the message of whatever was thrown', () => {
  expect([new Error('a'), 'b', undefined, null, 5].map(messageOf)).toEqual([
    'a',
    'b',
    'undefined',
    'null',
    '5',
  ]);
});
