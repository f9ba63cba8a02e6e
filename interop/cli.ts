/** Programs run as child processes that answer with JSON on stdout. */
import { spawn } from 'node:child_process';
import { fewbitsCli } from './project.ts';

export type Json = Record<string, unknown>;

export interface ChildOptions {
  /** Added to this process's environment. */
  env?: Record<string, string>;
  /** Told the process id when the child runs. */
  onStart?: (pid: number) => void;
}

/**
 * Runs a compiled script with node and parses what it prints.
 * @throws Error with the last lines of stderr when it fails
 */
export function runJson(script: string, args: string[], { env, onStart }: ChildOptions = {}): Promise<Json> {
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (child.pid !== undefined) onStart?.(child.pid);
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const failed = `node ${[script, ...args].join(' ')} ended with ${code ?? signal}: ${err.trim().split('\n').slice(-5).join('\n')}`;
      if (code !== 0) return reject(new Error(failed));
      try {
        resolve(JSON.parse(out) as Json);
      } catch {
        reject(new Error(`node ${[script, ...args].join(' ')} printed no JSON: ${out.slice(0, 200)}`));
      }
    });
  });
}

/** `fewbits ARGS --json --quiet` */
export function fewbits(args: string[], options?: ChildOptions): Promise<Json> {
  return runJson(fewbitsCli, [...args, '--json', '--quiet'], options);
}
