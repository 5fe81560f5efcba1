import { expect, test } from 'vitest';
import { parseOptions } from './options.ts';

test('[LA1] without options the defaults apply', () => {
  expect(parseOptions([])).toEqual({
    is: 'run',
    options: {
      ...{ gateways: 2, sessions: 1, aggregators: 1, direct: false },
      ...{ port: 8080, basePort: 8100, data: undefined, fresh: false, observability: false },
    },
  });
});

test('[LA1] every option is parsed, with a space or an equals sign', () => {
  const argv = ['--gateways', '3', '--sessions=2', '--aggregators', '2', '--port=0', '--base-port', '0'];
  argv.push('--data=d', '--direct', '--fresh', '--observability');
  expect(parseOptions(argv)).toEqual({
    is: 'run',
    options: {
      gateways: 3,
      sessions: 2,
      aggregators: 2,
      direct: true,
      port: 0,
      basePort: 0,
      data: 'd',
      fresh: true,
      observability: true,
    },
  });
  expect(parseOptions(['--help'])).toEqual({ is: 'help' });
});

test.for([
  [['--gatways', '3'], /--gatways.*--help/],
  [['--gateways', 'many'], /--gateways: expected an integer from 1 to 90, got "many"/],
  [['--gateways', '0'], /--gateways/],
  [['--gateways'], /--gateways/],
  [['--port', '65536'], /--port: expected .* 65535/],
  [['--port', '1e3'], /--port/],
  [['--fresh=yes'], /--fresh/],
  [['stray'], /stray/],
] as const)('[LA1] %j is rejected with the name of the option', ([argv, reason]) => {
  const parsed = parseOptions(argv);
  expect(parsed).toMatchObject({ is: 'invalid', message: expect.stringMatching(reason) });
  if (parsed.is === 'invalid') expect(parsed.message.split('\n')).toHaveLength(1);
});
