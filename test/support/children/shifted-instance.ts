/* An instance whose clock is wrong by so much: `shifted-instance.js <options> <milliseconds>`. */
const now = Date.now.bind(Date);
const shift = Number(process.argv[3]);
Date.now = () => now() + shift;

await import('./instance.js');
