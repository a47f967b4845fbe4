"""Golden frames of the register maps, encoded by pymodbus from the manufacturers' register sheets.

    map-frames.py          prints the vectors as JSON (test/vectors/modbus-maps.json)

The tables below are written from the sheets, not from the maps that they check: address, type and scale of every register,
and the ranges that a master reads. Values are in the unit of the sheet. Registers that no row names hold 0xffff within a
range, as a meter's reserved registers may.
"""

import json
import struct

from pymodbus.register_read_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

try:
    from pymodbus.framer.rtu_framer import ModbusRtuFramer as Framer
except ImportError:
    from pymodbus.transaction import ModbusRtuFramer as Framer

UNIT = 1

# One phase, 341 VA: the values of the OR-WE-514 whose frames were captured.
ONE_PHASE = {
    "voltage": 231.42, "current": 1.473, "frequency": 50.01,
    "activePower": 327, "reactivePower": 98, "apparentPower": 341, "powerFactor": 0.959,
}
# Three phases: 230.2 V is the example of Eastron's protocol documents (43 66 33 34).
THREE_PHASES = {
    "voltage": 230.2, "voltageL2": 231.4, "voltageL3": 229.75,
    "current": 2.5, "currentL2": 1.25, "currentL3": 0.75, "frequency": 49.98,
    "activePower": 1000, "reactivePower": 220, "apparentPower": 1024, "powerFactor": 0.977,
}

MAPS = {
    "or-we-514": {
        "source": "vendor's sheet of OR-WE-514/515 (integers, high word first); values of a captured poll",
        "function": 3,
        "values": {**ONE_PHASE, "activeEnergy": 1979.36, "reactiveEnergy": 1023.48},
        "registers": {
            "frequency": (0x0130, "H", 0.01), "voltage": (0x0131, "H", 0.01), "current": (0x0139, "I", 0.001),
            "activePower": (0x0140, "i", 1), "reactivePower": (0x0148, "i", 1), "apparentPower": (0x0150, "i", 1),
            "powerFactor": (0x0158, "h", 0.001), "activeEnergy": (0xA000, "I", 0.01), "reactiveEnergy": (0xA01E, "I", 0.01),
        },
        "reads": [(0x0130, 41), (0xA000, 2), (0xA01E, 2)],
        "identity": (3, 0x000B, [0x00A2]),
    },
    "or-we-515": {
        "source": "vendor's sheet of OR-WE-514/515 with the rows of the tariffs; exporting",
        "function": 3,
        "values": {
            **ONE_PHASE, "activePower": -327, "reactivePower": -98, "powerFactor": -0.959,
            "activeEnergy": 1979.36, "reactiveEnergy": 1023.48,
            "activeEnergyT1": 1200.25, "activeEnergyT2": 700, "activeEnergyT3": 79.11, "activeEnergyT4": 0,
        },
        "registers": {
            "frequency": (0x0130, "H", 0.01), "voltage": (0x0131, "H", 0.01), "current": (0x0139, "I", 0.001),
            "activePower": (0x0140, "i", 1), "reactivePower": (0x0148, "i", 1), "apparentPower": (0x0150, "i", 1),
            "powerFactor": (0x0158, "h", 0.001), "activeEnergy": (0xA000, "I", 0.01), "reactiveEnergy": (0xA01E, "I", 0.01),
            "activeEnergyT1": (0xA002, "I", 0.01), "activeEnergyT2": (0xA004, "I", 0.01),
            "activeEnergyT3": (0xA006, "I", 0.01), "activeEnergyT4": (0xA008, "I", 0.01),
        },
        "reads": [(0x0130, 41), (0xA000, 2), (0xA002, 8), (0xA01E, 2)],
        "identity": (3, 0x000B, [0x00A2]),
    },
    "or-we-504": {
        "source": "register list of the OR-WE-504: 0.1 V, 0.1 A, 0.1 Hz, W, var, VA, 0.001, Wh, varh",
        "function": 3,
        "values": {
            "voltage": 230.1, "current": 4.4, "frequency": 50.0, "activePower": 987, "reactivePower": -215,
            "apparentPower": 1012, "powerFactor": 0.975, "activeEnergy": 1234.567, "reactiveEnergy": 70.001,
        },
        "registers": {
            "voltage": (0, "H", 0.1), "current": (1, "H", 0.1), "frequency": (2, "H", 0.1), "activePower": (3, "h", 1),
            "reactivePower": (4, "h", 1), "apparentPower": (5, "H", 1), "powerFactor": (6, "h", 0.001),
            "activeEnergy": (7, "I", 0.001), "reactiveEnergy": (9, "I", 0.001),
        },
        "reads": [(0, 11)],
    },
    "or-we-516": {
        "source": "register list of the OR-WE-516/517: floats in V, Hz, A, kW, kvar, kVA, kWh, kvarh",
        "function": 3,
        "values": {**THREE_PHASES, "activeEnergy": 4321.5, "reactiveEnergy": 250.25},
        "registers": {
            "voltage": (0x0E, "f", 1), "voltageL2": (0x10, "f", 1), "voltageL3": (0x12, "f", 1), "frequency": (0x14, "f", 1),
            "current": (0x16, "f", 1), "currentL2": (0x18, "f", 1), "currentL3": (0x1A, "f", 1),
            "activePower": (0x1C, "f", 1000), "reactivePower": (0x24, "f", 1000), "apparentPower": (0x2C, "f", 1000),
            "powerFactor": (0x34, "f", 1), "activeEnergy": (0x0108, "f", 1), "reactiveEnergy": (0x0120, "f", 1),
        },
        "reads": [(0x0E, 40), (0x0108, 2), (0x0120, 2)],
        "identity": (3, 0x0000, [0x0012, 0xD687]),
    },
    "sdm120": {
        "source": "Eastron SDM120 Modbus protocol, input registers (30001, 30007 …): floats in V, A, W, VA, var, Hz, kWh, kvarh",
        "function": 4,
        "values": {**ONE_PHASE, "voltage": 230.2, "activeEnergy": 1979.36, "reactiveEnergy": 1023.48},
        "registers": {
            "voltage": (0x00, "f", 1), "current": (0x06, "f", 1), "activePower": (0x0C, "f", 1), "apparentPower": (0x12, "f", 1),
            "reactivePower": (0x18, "f", 1), "powerFactor": (0x1E, "f", 1), "frequency": (0x46, "f", 1),
            "activeEnergy": (0x48, "f", 1), "reactiveEnergy": (0x4C, "f", 1),
        },
        "reads": [(0x00, 32), (0x46, 2), (0x48, 2), (0x4C, 2)],
        "identity": (3, 0xFC00, [0x0123, 0x4567]),
    },
    "sdm230": {
        "source": "Eastron SDM230 Modbus protocol, input registers: those of the SDM120; exporting",
        "function": 4,
        "values": {
            **ONE_PHASE, "voltage": 230.2, "activePower": -327.4, "reactivePower": -98.4, "powerFactor": -0.959,
            "activeEnergy": 8.125, "reactiveEnergy": 0.5,
        },
        "registers": {
            "voltage": (0x00, "f", 1), "current": (0x06, "f", 1), "activePower": (0x0C, "f", 1), "apparentPower": (0x12, "f", 1),
            "reactivePower": (0x18, "f", 1), "powerFactor": (0x1E, "f", 1), "frequency": (0x46, "f", 1),
            "activeEnergy": (0x48, "f", 1), "reactiveEnergy": (0x4C, "f", 1),
        },
        "reads": [(0x00, 32), (0x46, 2), (0x48, 2), (0x4C, 2)],
        "identity": (3, 0xFC00, [0x0123, 0x4568]),
    },
    "sdm630": {
        "source": "Eastron SDM630 Modbus protocol, input registers: phases (30001 …), totals (30053, 30057, 30061, 30063), 30071 …",
        "function": 4,
        "values": {**THREE_PHASES, "activeEnergy": 4321.5, "reactiveEnergy": 250.25},
        "registers": {
            "voltage": (0x00, "f", 1), "voltageL2": (0x02, "f", 1), "voltageL3": (0x04, "f", 1),
            "current": (0x06, "f", 1), "currentL2": (0x08, "f", 1), "currentL3": (0x0A, "f", 1),
            "activePower": (0x34, "f", 1), "apparentPower": (0x38, "f", 1), "reactivePower": (0x3C, "f", 1),
            "powerFactor": (0x3E, "f", 1), "frequency": (0x46, "f", 1),
            "activeEnergy": (0x48, "f", 1), "reactiveEnergy": (0x4C, "f", 1),
        },
        "reads": [(0x00, 12), (0x34, 20), (0x48, 2), (0x4C, 2)],
        "identity": (3, 0xFC00, [0x0123, 0x4569]),
    },
}

# What each quantity's value is in the measurement image, per unit of the sheet: 0.01 V, 0.001 A, 0.01 Hz, W, Wh …
PER_UNIT = {"voltage": 100, "current": 1000, "frequency": 100, "powerFactor": 1000, "activeEnergy": 1000, "reactiveEnergy": 1000}


def per_unit(quantity):
    return next((factor for name, factor in PER_UNIT.items() if quantity.startswith(name)), 1)


def words(kind, raw):
    data = struct.pack(">" + kind, raw if kind == "f" else round(raw))
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def frame(message):
    message.unit_id = UNIT
    return Framer(None).buildPacket(message).hex()


def exchange(function, start, values):
    """The request for registers and the reply that holds these values."""
    request, reply = (
        (ReadHoldingRegistersRequest, ReadHoldingRegistersResponse)
        if function == 3
        else (ReadInputRegistersRequest, ReadInputRegistersResponse)
    )
    return {"request": frame(request(start, len(values))), "reply": frame(reply(values))}


def vectors(table):
    held = {}
    for quantity, (address, kind, scale) in table["registers"].items():
        for i, word in enumerate(words(kind, table["values"][quantity] / scale)):
            held[address + i] = word
    out = {
        "source": table["source"],
        "values": {quantity: round(value * per_unit(quantity)) for quantity, value in table["values"].items()},
        "reads": [
            exchange(table["function"], start, [held.get(start + i, 0xFFFF) for i in range(count)])
            for start, count in table["reads"]
        ],
    }
    if "identity" in table:
        out["identity"] = exchange(*table["identity"])
    return out


if __name__ == "__main__":
    print(json.dumps({name: vectors(table) for name, table in MAPS.items()}, indent=2))
