/** Runs a program's main function; its value is the exit code, an error is one line on stderr and exit code 2. */
export function runProgram(main: () => Promise<number>): void {
  // Exit explicitly: llama.cpp's threads would keep the process alive.
  main().then(
    (code) => process.exit(code),
    (error: unknown) => {
      console.error(error instanceof Error ? error.message : error);
      process.exit(2);
    },
  );
}
