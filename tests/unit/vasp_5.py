"""A small vasprun.xml of a static calculation of rock salt in the words of VASP 5.4.4, as far as it is read.

What files of 5.4 have otherwise than one of 6.3.2: a version that goes on with date and commit, PREC in six letters,
LREAL and LORBIT as truth values, a dipole at −100 where there is none, and two sections of exchange-correlation.
"""

from __future__ import annotations

ENERGIES_EV = (-20.5, -26.8, -27.1, -27.12, -27.12)

TITLES = ("PAW_PBE Na 08Apr2002", "PAW_PBE Cl 06Sep2000")


def rows(*vectors: str) -> str:
    return "\n".join(f"   <v> {vector} </v>" for vector in vectors)


def structure(name: str = "") -> str:
    label = f' name="{name}"' if name else ""
    return f"""<structure{label} >
 <crystal>
  <varray name="basis" >
{rows("0.0 2.8 2.8", "2.8 0.0 2.8", "2.8 2.8 0.0")}
  </varray>
  <i name="volume">     43.90400000 </i>
  <varray name="rec_basis" >
{rows("-0.17857143 0.17857143 0.17857143", "0.17857143 -0.17857143 0.17857143", "0.17857143 0.17857143 -0.17857143")}
  </varray>
 </crystal>
 <varray name="positions" >
{rows("0.00000000 0.00000000 0.00000000", "0.50000000 0.50000000 0.50000000")}
 </varray>
</structure>
"""


def energies(energy_ev: float) -> str:
    return f"""<energy>
 <i name="e_fr_energy"> {energy_ev:16.8f} </i>
 <i name="e_wo_entrp"> {energy_ev + 0.002:16.8f} </i>
 <i name="e_0_energy"> {energy_ev + 0.001:16.8f} </i>
</energy>
"""


def write_vasprun(
    *, version: str = "5.4.4.18Apr17-6-g9f103f2a35", energies_ev: tuple[float, ...] = ENERGIES_EV, shift_ev: float = 0.0
) -> str:
    """The file.

    Parameters
    ----------
    version
        What the code calls itself.
    energies_ev
        Energy of each electronic step.
    shift_ev
        Added to all of them: a run with another energy.
    """
    steps = "".join(f"<scstep>\n{energies(energy + shift_ev)}</scstep>\n" for energy in energies_ev)
    kinds = "".join(
        f"<rc><c>   1</c><c>{title.split()[1]}</c><c> 1.0</c><c> {valence}</c><c>  {title}  </c></rc>\n"
        for title, valence in zip(TITLES, ("1.0", "7.0"), strict=True)
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">{version}  </i>
  <i name="subversion" type="string">(build Nov 17 2017 16:18:39) complex            parallel </i>
 </generator>
 <incar>
  <i type="string" name="PREC">accurate</i>
  <i type="string" name="ALGO"> Normal</i>
  <i type="int" name="ISMEAR">     0</i>
  <i name="SIGMA">      0.05000000</i>
  <i name="ENCUT">    450.00000000</i>
  <i name="EDIFF">      0.00000010</i>
  <i type="int" name="NSW">     0</i>
  <i type="int" name="IBRION">    -1</i>
 </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       2        2        2 </v>
   <v name="usershift">      0.00000000       0.00000000       0.00000000 </v>
   <v name="shift">      0.00000000       0.00000000       0.00000000 </v>
  </generation>
  <varray name="kpointlist" >
{rows("0.0 0.0 0.0", "0.5 0.0 0.0", "0.5 0.5 0.0")}
  </varray>
  <varray name="weights" >
{rows("0.125", "0.5", "0.375")}
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i type="string" name="PREC">accura</i>
   <i name="ENMAX">    450.00000000</i>
   <i name="EDIFF">      0.00000010</i>
   <i type="int" name="IALGO">    38</i>
   <i name="NELECT">      8.00000000</i>
   <separator name="electronic smearing" >
    <i type="int" name="ISMEAR">     0</i>
    <i name="SIGMA">      0.05000000</i>
   </separator>
   <separator name="electronic projectors" >
    <i type="logical" name="LREAL"> F  </i>
    <i type="int" name="LMAXMIX">     2</i>
   </separator>
   <separator name="electronic startup" >
    <i type="int" name="ISTART">     0</i>
    <i type="int" name="ICHARG">     2</i>
   </separator>
   <separator name="electronic spin" >
    <i type="int" name="ISPIN">     1</i>
    <i type="logical" name="LNONCOLLINEAR"> F  </i>
    <v name="MAGMOM">      1.00000000      1.00000000</v>
    <i type="logical" name="LSORBIT"> F  </i>
   </separator>
   <separator name="electronic exchange-correlation" >
    <i type="logical" name="LASPH"> F  </i>
    <i type="logical" name="LMETAGGA"> F  </i>
   </separator>
   <separator name="electronic convergence" >
    <i type="int" name="NELM">   100</i>
   </separator>
   <separator name="electronic dipolcorrection" >
    <i type="logical" name="LDIPOL"> F  </i>
    <i type="logical" name="LMONO"> F  </i>
    <i type="int" name="IDIPOL">     0</i>
    <v name="DIPOL">   -100.00000000   -100.00000000   -100.00000000</v>
    <i name="EFIELD">      0.00000000</i>
   </separator>
  </separator>
  <separator name="ionic" >
   <i type="int" name="NSW">     0</i>
   <i type="int" name="IBRION">    -1</i>
   <i type="int" name="ISIF">     2</i>
   <i name="PSTRESS">      0.00000000</i>
  </separator>
  <separator name="dos" >
   <i type="logical" name="LORBIT"> F  </i>
  </separator>
  <i type="logical" name="GGA_COMPAT"> T  </i>
  <i type="logical" name="LDAU"> F  </i>
  <separator name="electronic exchange-correlation" >
   <i type="string" name="GGA">--</i>
   <i type="logical" name="LHFCALC"> F  </i>
  </separator>
  <separator name="vdW DFT" >
   <i type="logical" name="LUSE_VDW"> F  </i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>       2 </atoms>
  <types>       2 </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
<rc><c>Na</c><c>   1</c></rc>
<rc><c>Cl</c><c>   2</c></rc>
   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <field type="int">atomspertype</field>
   <field type="string">element</field>
   <field>mass</field>
   <field>valence</field>
   <field type="string">pseudopotential</field>
   <set>
{kinds}   </set>
  </array>
 </atominfo>
{structure("initialpos")} <calculation>
{steps}{structure()}  <varray name="forces" >
{rows("0.00100000 0.00000000 0.00000000", "-0.00100000 0.00000000 0.00000000")}
  </varray>
  <varray name="stress" >
{rows("1.0 0.0 0.0", "0.0 1.0 0.0", "0.0 0.0 1.0")}
  </varray>
{energies(energies_ev[-1] + shift_ev)} </calculation>
{structure("finalpos")}</modeling>
"""
