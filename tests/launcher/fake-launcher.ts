import { runLauncher } from '../../deploy/fleet/src/launcher.ts';
import { parseOptions } from '../../deploy/fleet/src/options.ts';
import { FAKE_ENTRY_POINTS } from './entry-points.ts';

// The launcher of `npm start` with fake services.
const parsed = parseOptions(process.argv.slice(2));
if (parsed.is !== 'run') throw new Error('bad options');
process.exit(await runLauncher(parsed.options, { env: process.env, entryPoints: FAKE_ENTRY_POINTS }));
