// oracle answers questions with the official SCION packages (github.com/scionproto/scion): one JSON object a line on
// standard input, one a line on standard output, in the same order.
//
//	{"op": "combine", "args": {…}}  ->  {"result": …}  or  {"error": "…"}
//
// Bytes are hexadecimal, ISD-ASes are text. Each operation says in its own file what goes in and comes out.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

type request struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

type answer struct {
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// operation answers one question; its error is part of the answer.
type operation func(args json.RawMessage) (any, error)

var operations = map[string]operation{
	"combine":   with(combine),
	"segment":   with(buildSegment),
	"path":      with(examinePath),
	"mac":       with(hopMac),
	"address":   with(address),
	"policy":    with(policy),
	"predicate": with(predicate),
	"decode":    with(decodePacket),
	"encode":    with(encodePacket),
	"spao":      with(packetAuth),
	"epic":      with(epicMac),
	"options":   with(encodeOptions),
}

// with turns a function of a typed argument into an operation.
func with[A any](run func(A) (any, error)) operation {
	return func(raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, fmt.Errorf("arguments: %w", err)
		}
		return run(args)
	}
}

// hexBytes are bytes that JSON shows as hexadecimal text.
type hexBytes []byte

func (b hexBytes) MarshalJSON() ([]byte, error) {
	return json.Marshal(hex.EncodeToString(b))
}

func (b *hexBytes) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(text)
	*b = decoded
	return err
}

// run answers one line. A panic of an official package is an answer too: it must not end the other questions.
func run(line []byte) (out answer) {
	defer func() {
		if failure := recover(); failure != nil {
			out = answer{Error: fmt.Sprintf("panic: %v", failure)}
		}
	}()
	var question request
	if err := json.Unmarshal(line, &question); err != nil {
		return answer{Error: err.Error()}
	}
	op, known := operations[question.Op]
	if !known {
		return answer{Error: "unknown operation " + question.Op}
	}
	result, err := op(question.Args)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Result: result}
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	encoder := json.NewEncoder(out)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			if err := encoder.Encode(run(line)); err != nil {
				// Nothing was written: the value has no JSON form.
				err = encoder.Encode(answer{Error: err.Error()})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		}
		if err == io.EOF {
			out.Flush()
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// A waiting asker gets its answer at once; a stream of questions is answered in large writes.
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}
