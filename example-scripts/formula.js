// expect: {"net":100,"tax":19,"gross":119}
// A formula over `input`, as a spreadsheet or a price list would have it.
const { quantity, unitPrice, taxRate } = globalThis.input ?? {};
const cents = (amount) => Math.round(amount * 100) / 100;

const net = cents((quantity ?? 4) * (unitPrice ?? 25));
const tax = cents(net * (taxRate ?? 0.19));
({ net, tax, gross: cents(net + tax) });
