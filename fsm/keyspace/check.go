package keyspace

// checkDigit is the check character of Luhn mod N, as a numeral: with it, the
// sum over all characters of the body, every second one from the right doubled
// (its two numerals added), is a multiple of the radix. For an even radix it
// finds every wrong character, and every swap of neighbours but that of the
// first and the last of the alphabet.
func (p *Permutation) checkDigit(body string) uint64 {
	var sum uint64
	double := true
	for i := len(body) - 1; i >= 0; i-- {
		digit := uint64(p.value[body[i]])
		if double {
			digit *= 2
			digit = digit/p.radix + digit%p.radix
		}
		sum += digit
		double = !double
	}
	return (p.radix - sum%p.radix) % p.radix
}
